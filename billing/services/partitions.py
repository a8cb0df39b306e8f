"""Partitions of the usage table: made ahead, and those that were missing made up for."""

from __future__ import annotations

import structlog

from billing.models import UsageRecord
from billing.periods import month_of, next_month
from core import clock, partitions
from core.scoping import platform_scope

log = structlog.get_logger(__name__)

MONTHS_AHEAD = 3
_TABLE = UsageRecord._meta.db_table


def keep_ahead() -> int:
    """Make the partitions of this month and the next MONTHS_AHEAD, and of months that the default one holds.

    Idempotent; returns how many were made. Rows in the default partition are moved into theirs, out of reach of
    readers and writers for as long as that takes: for that partition only.
    """
    month = month_of(clock.now())
    wanted = {month}
    for _number in range(MONTHS_AHEAD):
        month = next_month(month)
        wanted.add(month)
    with platform_scope("partitions.keep_ahead"):
        wanted |= set(partitions.months_in_default(_TABLE, "started_at"))
    made = [month for month in sorted(wanted) if partitions.make_partition(_TABLE, month)]
    if made:
        log.info("billing.partitions.made", months=[f"{month:%Y-%m}" for month in made])
    return len(made)
