"""What a request costs: pure functions over whole numbers.

A price has six components: input, cached input and output tokens (each in nano-units per million tokens), calls
(per call), engine time (per second) and occupied slots (per hour). Each may have tiers by the month's volume and
an amount that is included every month.

The month's cost is one function of the month's volume, exact as a fraction and cut to whole nano-units at the
very end. A request costs what it adds to that function: the costs of a month's requests add up to the month's
cost to the last nano-unit, in whatever order they arrive, and no request costs more than its worst case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import lcm
from typing import Any, Final, NamedTuple

from billing.errors import AmountRefused
from billing.money import MAX_NANO

# How many units the price of a component is for.
SCALES: Final[dict[str, int]] = {
    "input": 1_000_000,
    "cached": 1_000_000,
    "output": 1_000_000,
    "calls": 1,
    "gpu_ns": 1_000_000_000,
    "slot_ms": 3_600_000,
}
COMPONENTS: Final = tuple(SCALES)
# Costs are summed up as multiples of this part of a nano-unit, in which every component is a whole number.
FRACTION: Final = lcm(*SCALES.values())
_WEIGHTS: Final = tuple(FRACTION // scale for scale in SCALES.values())
# The most of anything that one request can have used: 11 days of engine time, and far above any other bound. What
# a broken report says beyond it cannot spoil a month's volumes.
MOST_OF_A_REQUEST: Final = 10**15
# Outcomes that were no call of the customer's: no fee per call (`refused` costs nothing at all).
_NO_CALL = frozenset({"failed", "lost", "refused"})


class Units(NamedTuple):
    """How much of each component: of one request, or of a month. `input` is without what was cached."""

    input: int = 0
    cached: int = 0
    output: int = 0
    calls: int = 0
    gpu_ns: int = 0
    slot_ms: int = 0

    def plus(self, other: Units) -> Units:
        """Component by component, as far as a bigint goes."""
        return Units(*(min(a + b, MAX_NANO) for a, b in zip(self, other, strict=True)))

    def minus(self, other: Units) -> Units:
        """Component by component, not below zero."""
        return Units(*(max(0, a - b) for a, b in zip(self, other, strict=True)))


class Tier(NamedTuple):
    """From this volume of the month on, this price."""

    start: int
    nano: int


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """One price as admission needs it: the highest that each component can cost, whatever the month's volume.

    `id` pins the price that a request is charged by, whatever changes until it ends (F15).
    """

    id: str
    input_nano: int = 0  # per million tokens, as the next two
    cached_nano: int = 0
    output_nano: int = 0
    call_nano: int = 0
    gpu_second_nano: int = 0
    slot_hour_nano: int = 0


@dataclass(frozen=True, slots=True)
class RateCard:
    """One price in full: tiers and included amounts of each component, in the order of COMPONENTS."""

    tiers: tuple[tuple[Tier, ...], ...]
    included: Units = field(default_factory=Units)

    def cost(self, month: Units) -> int:
        """The cost of a month's volume, in nano-units; what is below one is cut off."""
        total = 0
        for tiers, free, units, weight in zip(self.tiers, self.included, month, _WEIGHTS, strict=True):
            if units > free and (len(tiers) > 1 or tiers[0].nano):
                total += weight * (_volume_cost(tiers, units) - _volume_cost(tiers, free))
        return total // FRACTION

    def highest(self) -> tuple[int, ...]:
        """The highest price of each component over all tiers."""
        return tuple(max(tier.nano for tier in tiers) for tiers in self.tiers)


def _volume_cost(tiers: tuple[Tier, ...], units: int) -> int:
    total = 0
    for tier, following in zip(tiers, [*tiers[1:], None], strict=True):
        if units <= tier.start:
            break
        end = units if following is None else min(units, following.start)
        total += (end - tier.start) * tier.nano
    return total


def rate_card(
    *,
    base: tuple[int, ...],
    tiers: Mapping[str, list[list[int]]] | None = None,
    included: Mapping[str, int] | None = None,
) -> RateCard:
    """A rate card out of base prices and, by component, tiers as [from, nano] and included amounts.

    Raises AmountRefused for tiers that do not rise, or what is no whole number from zero on.
    """
    tables = []
    for component, nano in zip(COMPONENTS, base, strict=True):
        table = [Tier(0, _count(nano))]
        for start, price in (tiers or {}).get(component, []):
            if _count(start) <= table[-1].start:
                raise AmountRefused("tiers must begin above zero and rise", field="tiers")
            table.append(Tier(start, _count(price)))
        tables.append(tuple(table))
    free = Units(**{name: _count(amount) for name, amount in (included or {}).items()})
    return RateCard(tuple(tables), free)


def charge_nano(
    price: PriceTerms,
    *,
    prompt_tokens: int,
    cached_tokens: int = 0,
    completion_tokens: int = 0,
    gpu_ns: int = 0,
    slot_ms: int = 0,
    calls: int = 1,
) -> int:
    """The cost of a request on its own at these prices, in nano-units, cut to whole ones.

    Never above `worst_case_nano` of bounds that hold. Raises AmountRefused for a count that is no whole number
    from zero on.
    """
    used = units_of(
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        completion_tokens=completion_tokens,
        gpu_ns=gpu_ns,
        slot_ms=slot_ms,
        calls=calls,
    )
    return _exact(price, used) // FRACTION


def worst_case_nano(
    price: PriceTerms, *, prompt_tokens: int, most_tokens: int, gpu_bound_ns: int = 0, slot_bound_ms: int = 0
) -> int:
    """The most that a request within these bounds can cost, in nano-units, rounded up: what is to be held.

    Raises AmountRefused for a bound that is no whole number from zero on, and for a cost beyond MAX_NANO.
    """
    used = units_of(
        prompt_tokens=prompt_tokens,
        completion_tokens=most_tokens,
        gpu_ns=gpu_bound_ns,
        slot_ms=slot_bound_ms,
        calls=1,
    )
    dearest = max(price.input_nano, price.cached_nano)
    most = _exact(price, used) + used.input * (dearest - price.input_nano) * _WEIGHTS[0]
    nano = -(-most // FRACTION)
    if nano > MAX_NANO:
        raise AmountRefused("a request of this size cannot be paid for", field="max_tokens")
    return nano


def units_of(
    *,
    prompt_tokens: int,
    cached_tokens: int = 0,
    completion_tokens: int = 0,
    gpu_ns: int = 0,
    slot_ms: int = 0,
    calls: int = 1,
) -> Units:
    """What a request used. `prompt_tokens` counts the cached ones too. Raises AmountRefused."""
    cached = min(_count(cached_tokens), _count(prompt_tokens))
    return Units(
        prompt_tokens - cached,
        cached,
        _count(completion_tokens),
        _count(calls),
        _count(gpu_ns),
        _count(slot_ms),
    )


def units_of_record(record: Mapping[str, Any]) -> Units:
    """What a usage record is charged for.

    A refused request, and one that failed with nothing generated, cost nothing. One that failed later or was
    lost costs what it used, without the fee per call. A slot is occupied from the end of the wait to the end.
    """
    outcome = record["outcome"]
    if outcome == "refused" or (outcome == "failed" and not record["completion_tokens"]):
        return Units()
    used = units_of(
        prompt_tokens=record["prompt_tokens"],
        cached_tokens=record["cached_tokens"],
        completion_tokens=record["completion_tokens"],
        gpu_ns=record["gpu_prefill_ns"] + record["gpu_decode_ns"],
        slot_ms=max(0, record["duration_ms"] - record["queue_ms"]),
        calls=0 if outcome in _NO_CALL else 1,
    )
    return Units(*(min(count, MOST_OF_A_REQUEST) for count in used))


def _exact(price: PriceTerms, used: Units) -> int:
    prices = (
        *(price.input_nano, price.cached_nano, price.output_nano),
        *(price.call_nano, price.gpu_second_nano, price.slot_hour_nano),
    )
    return sum(units * nano * weight for units, nano, weight in zip(used, prices, _WEIGHTS, strict=True))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise AmountRefused("a count is a whole number, zero or more")
    return value
