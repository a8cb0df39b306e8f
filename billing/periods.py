"""Months and hours, all UTC: what a request costs belongs to the month in which it was admitted."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta


def month_of(moment: datetime) -> date:
    """The first day of the month that `moment` falls into."""
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(month: date) -> date:
    """The first day of the month after."""
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def beginning(day: date) -> datetime:
    """Midnight at which a day begins."""
    return datetime.combine(day, time.min, tzinfo=UTC)


def span_of(month: date) -> tuple[datetime, datetime]:
    """From the beginning of a month to before the beginning of the next."""
    return beginning(month.replace(day=1)), beginning(next_month(month))


def floor_hour(moment: datetime) -> datetime:
    """The full hour at or before."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def ceil_hour(moment: datetime) -> datetime:
    """The full hour at or after."""
    floor = floor_hour(moment)
    return floor if floor == moment else floor + timedelta(hours=1)


def floor_day(moment: datetime) -> datetime:
    """The midnight at or before."""
    return beginning(moment.astimezone(UTC).date())


def ceil_day(moment: datetime) -> datetime:
    """The midnight at or after."""
    floor = floor_day(moment)
    return floor if floor == moment else floor + timedelta(days=1)
