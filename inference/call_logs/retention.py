"""Retention of call logs: what a tenant's policy no longer keeps goes in batches; months that nobody keeps go whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from billing.periods import month_of, next_month, span_of
from core import clock, partitions
from core.governance import Removed, delete_before, summed_up
from core.scoping import platform_scope
from inference.call_logs.models import DEFAULT_RETENTION_DAYS, CallLog, CallLogText, DataKey, LogPolicy
from tenants.models import Tenant, TenantStatus

log = structlog.get_logger(__name__)

MONTHS_AHEAD = 3
COLUMN = "started_at"


def keep_ahead() -> int:
    """Make the partitions of the months to come, and of months that the default one holds. Idempotent."""
    month = month_of(clock.now())
    wanted = {month}
    for _number in range(MONTHS_AHEAD):
        month = next_month(month)
        wanted.add(month)
    made = 0
    for model in (CallLog, CallLogText):
        table = model._meta.db_table
        with platform_scope("call_logs.partitions"):
            found = set(partitions.months_in_default(table, COLUMN))
        made += sum(partitions.make_partition(table, each) for each in sorted(wanted | found))
    return made


def logs(*, dry_run: bool) -> Iterator[Removed]:
    """The retention rule of call logs."""
    yield from _apply(CallLog, dry_run)


def texts(*, dry_run: bool) -> Iterator[Removed]:
    """The retention rule of full texts, and of keys out of use whose last text has gone."""
    yield from _apply(CallLogText, dry_run)
    if not dry_run:
        yield from _spent_keys()


def _apply(model: type[Any], dry_run: bool) -> Iterator[Removed]:
    now = clock.now()
    with platform_scope("call_logs.retention"):
        days = dict(LogPolicy.objects.values_list("tenant_id", "retention_days"))
        # What a closed tenant left behind goes with its erasure; the rest by its policy.
        tenants = list(Tenant.objects.exclude(status=TenantStatus.CLOSED).values_list("pk", flat=True))
    longest = max([DEFAULT_RETENTION_DAYS, *days.values()])
    gone = _old_months(model, now - timedelta(days=longest))
    for begin, end in gone:
        yield _whole_month(model, begin, end, dry_run)
    for tenant_id in tenants:
        cutoff = now - timedelta(days=days.get(tenant_id, DEFAULT_RETENTION_DAYS))
        yield delete_before(model, COLUMN, cutoff, tenant_id=tenant_id, dry_run=dry_run, gone=gone)


def _old_months(model: type[Any], cutoff: datetime) -> list[tuple[datetime, datetime]]:
    """Months with a partition that nobody keeps anything of."""
    spans = [span_of(month) for month in partitions.months_of(model._meta.db_table)]
    return [(begin, end) for begin, end in spans if end <= cutoff]


def _whole_month(model: type[Any], begin: datetime, end: datetime, dry_run: bool) -> Removed:
    with transaction.atomic(), platform_scope("call_logs.retention"):
        removed = summed_up(model, COLUMN, begin, end)
        if not dry_run:
            partitions.drop_partition(model._meta.db_table, begin.date())
    return removed


def _spent_keys() -> Iterator[Removed]:
    with platform_scope("call_logs.retention"):
        spent: list[tuple[UUID, UUID]] = list(
            DataKey.objects.filter(is_active=False, destroyed_at__isnull=True)
            .exclude(pk__in=CallLogText.objects.values("data_key_id"))
            .values_list("pk", "tenant_id")
        )
        # Notes on their way may still be sealed with a key that was in use a moment ago.
        edge = clock.now() - timedelta(days=1)
        gone = DataKey.objects.filter(pk__in=[key for key, _tenant in spent], updated_at__lt=edge).update(
            wrapped="", destroyed_at=clock.now(), updated_at=clock.now()
        )
    if gone:
        yield Removed(store=DataKey._meta.db_table, count=gone, how="keys")
