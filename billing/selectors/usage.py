"""Reads of usage. What is absent and what is another tenant's raise the same NotFound (L17)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from django.db.models import Count, F, Sum
from django.db.models.functions import TruncDate
from django.utils.translation import gettext as _

from access.models import APIKey
from billing.models import UsageRecord
from billing.querysets import UsageRecordQuerySet
from core import clock
from core.errors import InvalidInput, NotFound
from core.ids import parse_public_id, public_id

MAX_GROUPS = 1_000
MAX_SUMMARY_DAYS = 92
_SUMMED = ("prompt_tokens", "cached_tokens", "completion_tokens")
_GROUPS: dict[str, Any] = {
    "day": TruncDate("finished_at", tzinfo=UTC),
    "model": F("model"),
    "key": F("key_id"),
    "outcome": F("outcome"),
}


def usage_records() -> UsageRecordQuerySet:
    """The active tenant's usage records, newest first; behind the platform door everybody's."""
    return UsageRecord.objects.get_queryset().newest_first()


def usage_record_by_public_id(*, public_id: str) -> UsageRecord:
    """One usage record in scope by its `use_…` id. Raises NotFound."""
    try:
        record = usage_records().filter(pk=parse_public_id(public_id, UsageRecord.id_prefix)).first()
    except ValueError:
        record = None
    if record is None:
        raise NotFound(_("There is no such usage record."))
    return record


class UsageTotals(TypedDict):
    """Sums over the records of one group."""

    group: str | None
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class UsageSummary(TypedDict):
    """Sums over a span of time, by day, model, key or outcome."""

    since: datetime
    until: datetime
    by: str
    groups: list[UsageTotals]


def usage_summary(
    *,
    by: str = "day",
    since: datetime | None = None,
    until: datetime | None = None,
    model: str = "",
    key: UUID | None = None,
) -> UsageSummary:
    """Requests and tokens in scope from `since` to before `until`: the last 30 days unless said otherwise.

    Days are UTC's. At most MAX_GROUPS groups, those with most requests first (days: the latest first). Raises
    InvalidInput for a span that is empty or longer than MAX_SUMMARY_DAYS. One query over the span.
    """
    end = until or clock.now()
    begin = since or end - timedelta(days=30)
    if not timedelta(0) < end - begin <= timedelta(days=MAX_SUMMARY_DAYS):
        raise InvalidInput(
            _("Ask for a span of at most %(days)d days that does not end before it begins.")
            % {"days": MAX_SUMMARY_DAYS},
            field="since",
        )
    records = UsageRecord.objects.get_queryset().finished_between(begin, end)
    if model:
        records = records.for_model(model)
    if key is not None:
        records = records.filter(key_id=key)
    groups = (
        records.values(group=_GROUPS[by])
        .annotate(requests=Count("pk"), **{name: Sum(name) for name in _SUMMED})
        .order_by("-group" if by == "day" else "-requests", "group")[:MAX_GROUPS]
    )
    return UsageSummary(since=begin, until=end, by=by, groups=[_totals(by, row) for row in groups])


def _totals(by: str, row: dict[str, Any]) -> UsageTotals:
    group = row["group"]
    if by == "key" and group is not None:
        group = public_id(APIKey.id_prefix, group)
    return UsageTotals(
        group=str(group) if group is not None else None,
        requests=row["requests"],
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        completion_tokens=row["completion_tokens"],
    )
