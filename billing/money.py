"""Money as whole nano-units, billionths of a currency unit (L13). Decimal at the edges only, float nowhere.

Every amount fits PostgreSQL's bigint: ±9.2 thousand million currency units. What does not fit is refused and
never wraps round.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from typing import Any, Final

from babel.numbers import format_currency
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from billing.errors import AmountRefused

NANO: Final = 1_000_000_000
MAX_NANO: Final = (1 << 63) - 1
_DIGITS = 9  # of a nano-unit, behind the point
# What people and programs write: no exponent, no sign but a minus, no grouping.
_FORM = re.compile(r"-?[0-9]{1,10}(\.[0-9]{1,9})?")
# Wide enough for every amount there is: a result that would have to be rounded is an error, not a result.
_EXACT = Context(prec=40, traps=[Inexact])


@dataclass(frozen=True, slots=True)
class Currency:
    """One currency: its ISO 4217 code, and how many digits its smallest unit has (invoices round to it)."""

    code: str
    digits: int


# To add a currency, add its line: codes of ISO 4217, digits of its minor unit.
CURRENCIES: Final[dict[str, Currency]] = {
    currency.code: currency for currency in (Currency("CNY", 2), Currency("USD", 2))
}
CURRENCY_CHOICES: Final = [(code, code) for code in CURRENCIES]


def currency(code: str) -> Currency:
    """The currency of this code. Raises AmountRefused for one that is not dealt in."""
    found = CURRENCIES.get(code) if isinstance(code, str) else None
    if found is None:
        raise AmountRefused(
            _("Use one of these currencies: %(codes)s.") % {"codes": ", ".join(CURRENCIES)}, field="currency"
        )
    return found


def nano(value: Any, *, least: int = -MAX_NANO, most: int = MAX_NANO, field: str | None = None) -> int:
    """`value` as it is, if it is a whole number of nano-units from `least` to `most`. Raises AmountRefused.

    SECURITY: neither float nor bool passes, so that no NaN, infinity or rounding can come in by any door (F12).
    """
    if type(value) is not int:
        raise AmountRefused(_("An amount is a whole number of nano-units."), field=field)
    if not least <= value <= most:
        raise AmountRefused(
            _("An amount lies from %(least)s to %(most)s.")
            % {"least": plain(max(least, -MAX_NANO)), "most": plain(min(most, MAX_NANO))},
            field=field,
        )
    return value


def parse(text: str | Decimal | int, *, field: str | None = None) -> int:
    """Currency units as written ("12.5"), as nano-units. Raises AmountRefused for anything inexact.

    At most 9 digits behind the point; no exponent, NaN or infinity.
    """
    if isinstance(text, bool) or not isinstance(text, str | Decimal | int):
        raise AmountRefused(_("Write an amount as text, such as “12.50”."), field=field)
    if isinstance(text, Decimal):
        if not text.is_finite() or abs(text.adjusted()) > 20:
            raise AmountRefused(_("This is not an amount."), field=field)
        text = f"{text:f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    written = str(text)
    if not _FORM.fullmatch(written):
        raise AmountRefused(
            _("Write an amount as digits with at most %(count)d behind the point, such as “12.50”.")
            % {"count": _DIGITS},
            field=field,
        )
    whole, _point, fraction = written.removeprefix("-").partition(".")
    amount = int(whole) * NANO + int(fraction.ljust(_DIGITS, "0"))
    return nano(-amount if written.startswith("-") else amount, field=field)


def to_decimal(amount: int) -> Decimal:
    """Nano-units as currency units, exact."""
    return _EXACT.create_decimal(amount).scaleb(-_DIGITS, _EXACT)


def plain(amount: int) -> str:
    """Nano-units as currency units in plain digits, exact: "12.5", "-0.000000001". `parse` reads it back."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), NANO)
    tail = f"{fraction:0{_DIGITS}d}".rstrip("0")
    return f"{sign}{whole}.{tail}" if tail else f"{sign}{whole}"


def to_minor(amount: int, code: str) -> int:
    """Nano-units in the currency's smallest units (fen, cents), rounded half to even; also below zero."""
    unit = NANO // 10 ** currency(code).digits
    quotient, rest = divmod(amount, unit)
    return int(quotient + (2 * rest > unit or (2 * rest == unit and quotient % 2 == 1)))


def minor_text(minor: int, code: str) -> str:
    """Smallest units as decimal text with the currency's places: "12.30"."""
    return format(Decimal(minor).scaleb(-currency(code).digits), "f")


def readable(minor: int, code: str) -> str:
    """Smallest units as the reader's language writes money: "¥12.30"."""
    return display(minor * (NANO // 10 ** currency(code).digits), code)


def display(amount: int, code: str, locale: str | None = None) -> str:
    """An amount as the reader's language writes it, exact: "¥1,234.50", "CN¥0.000002".

    At least the digits of the currency's minor unit, and as many more as it has. `locale` defaults to the
    active language.
    """
    minor = currency(code).digits
    fraction = plain(amount).partition(".")[2]
    pattern = "¤#,##0." + "0" * max(minor, len(fraction))
    return format_currency(
        to_decimal(amount),
        code,
        pattern,
        locale=_babel_locale(locale or get_language() or "en"),
        currency_digits=False,
    )


def _babel_locale(language: str) -> str:
    """Django's `zh-hans` as Babel's `zh_Hans`."""
    head, _hyphen, tail = language.partition("-")
    if not tail:
        return head
    return f"{head}_{tail.title() if len(tail) == 4 else tail.upper()}"
