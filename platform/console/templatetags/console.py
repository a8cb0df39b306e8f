"""Numbers, times and money as people read them, in the language of the page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from babel.dates import format_datetime, format_timedelta
from babel.numbers import format_compact_decimal, format_decimal
from django import template
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from core import clock

register = template.Library()

_DAY_S = 86_400


def locale() -> str:
    """The page's language as Babel and CLDR know it."""
    return {"zh-hans": "zh_Hans"}.get(get_language() or "", "en")


@register.filter
def count(value: Any) -> str:
    """A whole number with its groups of digits."""
    return format_decimal(int(value or 0), locale=locale())


@register.filter
def short_count(value: Any) -> str:
    """A large number in short: 12.4K; in Chinese 1.2万."""
    return format_compact_decimal(int(value or 0), locale=locale(), fraction_digits=1)


@register.filter
def percent(value: Any) -> str:
    """A share of one, as a percentage."""
    return f"{format_decimal(round(float(value or 0) * 100, 1), locale=locale())} %"


@register.filter
def milliseconds(value: Any) -> str:
    """A duration: milliseconds below ten seconds, then seconds, then minutes."""
    if value is None or value == "":
        return "–"
    ms = int(value)
    if ms < 10_000:
        return _("%(number)s ms") % {"number": format_decimal(ms, locale=locale())}
    if ms < 600_000:
        return _("%(number)s s") % {"number": format_decimal(round(ms / 1000, 1), locale=locale())}
    return _("%(number)s min") % {"number": format_decimal(round(ms / 60_000, 1), locale=locale())}


@register.filter
def moment(value: datetime | None) -> str:
    """A point in time, to the second, UTC."""
    if value is None:
        return "–"
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


@register.filter
def ago(value: datetime | None) -> str:
    """How long ago, or in how long; a date where that is more than a month."""
    if value is None:
        return _("never")
    passed = clock.now() - value
    if abs(passed) > timedelta(seconds=30 * _DAY_S):
        return format_datetime(value, "d MMM y" if locale() == "en" else "y年M月d日", locale=locale())
    return format_timedelta(-passed, add_direction=True, locale=locale())


@register.filter
def ends(value: datetime | None) -> str:
    """When something ends, as `ago` says it."""
    return _("does not end") if value is None else ago(value)
