"""The arithmetic of invoices: dividing a charge over what it was for, and rounding. Pure, whole numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from uuid import UUID

from billing.models import Component, LineKind
from billing.money import to_minor


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice, closed or not. `quantity`: tokens, calls, ns of GPU time, or ms of slot time."""

    position: int
    kind: str
    period: date
    exact_nano: int
    amount_minor: int
    model: str = ""
    component: str = Component.NONE.value
    quantity: int = 0
    reference: UUID | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """What was used of one model at one price in a month, and what it was charged together."""

    model: str
    charge_nano: int
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    gpu_ns: int
    slot_ms: int

    def quantities(self) -> dict[str, int]:
        """How much of each component."""
        return {
            Component.INPUT.value: self.prompt_tokens - self.cached_tokens,
            Component.CACHED.value: self.cached_tokens,
            Component.OUTPUT.value: self.completion_tokens,
            Component.CALLS.value: self.requests,
            Component.GPU.value: self.gpu_ns,
            Component.SLOTS.value: self.slot_ms,
        }


# Prices are per so many units of a quantity.
PRICED_PER = {
    Component.INPUT.value: 1_000_000,
    Component.CACHED.value: 1_000_000,
    Component.OUTPUT.value: 1_000_000,
    Component.CALLS.value: 1,
    Component.GPU.value: 1_000_000_000,
    Component.SLOTS.value: 3_600_000,
}


def divide(amount: int, weights: Sequence[Fraction | int]) -> list[int]:
    """`amount` in whole parts by `weights` (none below zero, one above), which add up to it exactly.

    Each part is what its weight gives, cut or raised by less than one; of two equals the first is raised.
    """
    total = sum(Fraction(weight) for weight in weights)
    if total <= 0:
        raise ValueError("nothing to divide by")
    exact = [Fraction(amount) * weight / total for weight in weights]
    parts = [share.numerator // share.denominator for share in exact]
    left = amount - sum(parts)
    by_rest = sorted(range(len(parts)), key=lambda index: (parts[index] - exact[index], index))
    for index in by_rest[:left]:
        parts[index] += 1
    return parts


def components_of(use: Use, rates: dict[str, int] | None) -> dict[str, tuple[int, int]]:
    """Quantity and exact amount of each component that `use` was charged for.

    The charge is divided in proportion to what each component costs at the first tier of the price: tiers and
    included amounts change the sum, which is the ledger's, and not its division. Without a price that explains the
    charge the whole is one component.
    """
    quantities = use.quantities()
    weights = {
        name: Fraction(quantity * (rates or {}).get(name, 0), PRICED_PER[name])
        for name, quantity in quantities.items()
        if quantity > 0 and (rates or {}).get(name, 0) > 0
    }
    if not weights:
        return {Component.WHOLE.value: (use.requests, use.charge_nano)}
    parts = divide(use.charge_nano, list(weights.values()))
    return {name: (quantities[name], part) for name, part in zip(weights, parts, strict=True)}


def finish(lines: Sequence[Line], currency: str) -> tuple[list[Line], int, int]:
    """Number and round the lines; returns them with exact total (nano-units) and total (smallest units).

    Each line is rounded half to even, and so is the total. Where the rounded lines do not add up to the rounded
    total, a last line says by how much: the exact amounts add up to the ledger's, the rounded ones to what is paid.
    """
    done = [
        replace(line, position=number, amount_minor=to_minor(line.exact_nano, currency))
        for number, line in enumerate(lines, start=1)
    ]
    exact = sum(line.exact_nano for line in done)
    total = to_minor(exact, currency)
    difference = total - sum(line.amount_minor for line in done)
    if difference:
        period = done[0].period
        done.append(
            Line(
                position=len(done) + 1,
                kind=LineKind.ROUNDING.value,
                period=period,
                exact_nano=0,
                amount_minor=difference,
            )
        )
    return done, exact, total
