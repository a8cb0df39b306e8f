"""Money as people read it, in the language of the page."""

from __future__ import annotations

from typing import Any

from django import template

from billing.documents.invoices import description
from billing.invoicing import Line
from billing.money import NANO, currency, display, plain, readable

register = template.Library()

# A page shows as many digits behind the point as tell a request's price; `exact_money` shows all.
_SHOWN = 10 ** (9 - 4)


@register.filter
def money(amount: Any, code: str) -> str:
    """An amount of nano-units to four digits behind the point at most, small ones to all that they have."""
    exact = int(amount or 0)
    if 0 < abs(exact) < 10 * _SHOWN:
        return display(exact, code)
    step = _SHOWN if abs(exact) < 100 * NANO else NANO // 10 ** currency(code).digits
    return display((abs(exact) + step // 2) // step * step * (1 if exact >= 0 else -1), code)


@register.filter
def exact_money(amount: Any, code: str) -> str:
    """An amount of nano-units with every digit that it has."""
    return display(int(amount or 0), code)


@register.filter
def minor_money(minor: Any, code: str) -> str:
    """An amount of smallest units: fen, cents."""
    return readable(int(minor or 0), code)


@register.filter
def line_name(line: Line) -> str:
    """What a line of an invoice is for, as the invoice itself says it."""
    return description(line)


@register.filter
def nano_number(amount: Any) -> str:
    """An amount of no named currency, as exact decimal text."""
    return plain(int(amount or 0))
