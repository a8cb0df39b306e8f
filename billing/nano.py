"""Nano-units at the edges: exact decimal text, and rounding to what a currency can be paid in. Never a float."""

from __future__ import annotations

from decimal import Decimal

from babel.numbers import format_currency, get_currency_precision
from django.utils.translation import get_language, to_locale

NANO = 1_000_000_000


def exact_text(nano: int) -> str:
    """The amount as exact decimal text, e.g. `0.000001200`; at most nine places, none for trailing zeros."""
    text = format(Decimal(nano).scaleb(-9), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def smallest_unit(currency: str) -> int:
    """Nano-units in the smallest unit of a currency that can be paid: a fen, a cent, a yen."""
    return int(NANO // 10 ** get_currency_precision(currency))


def to_minor(nano: int, currency: str) -> int:
    """The amount in smallest units, rounded half to even; also below zero."""
    unit = smallest_unit(currency)
    quotient, rest = divmod(nano, unit)
    return int(quotient + (2 * rest > unit or (2 * rest == unit and quotient % 2 == 1)))


def minor_text(minor: int, currency: str) -> str:
    """Smallest units as decimal text with the currency's places, e.g. `12.30`."""
    return format(Decimal(minor).scaleb(-int(get_currency_precision(currency))), "f")


def readable(minor: int, currency: str) -> str:
    """Smallest units as the reader's language writes money, e.g. `¥12.30`."""
    amount = Decimal(minor_text(minor, currency))
    return str(format_currency(amount, currency, locale=to_locale(get_language() or "en")))
