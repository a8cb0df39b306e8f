"""Sums over usage of any span: full hours and days from the roll-ups, the rest from the records themselves.

All times are those at which requests started, as on invoices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from django.db.models import BigIntegerField, Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Concat, Greatest, TruncDate, TruncHour
from django.utils.translation import gettext as _

from access.models import APIKey
from accounts.models import User
from billing.models import Grain, TagRollup, UsageRecord, UsageRollup
from billing.money import plain
from billing.periods import ceil_day, ceil_hour, floor_day, floor_hour
from core import clock
from core.errors import InvalidInput
from core.ids import public_id

MAX_GROUPS = 1_000
MAX_SUMMARY_DAYS = 92
GROUPS = ("day", "hour", "model", "key", "member", "tag", "outcome")
_OF_TAGS = ("day", "hour", "model", "tag")
_COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens", "gpu_ns", "slot_ms", "charge_nano")


class Charge(TypedDict):
    """What was charged in one currency."""

    currency: str
    nano: int
    amount: str


class UsageTotals(TypedDict):
    """Sums over the requests of one group."""

    group: str | None
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    gpu_seconds: str
    slot_seconds: str
    charges: list[Charge]


class UsageSummary(TypedDict):
    """Sums over a span of time."""

    since: datetime
    until: datetime
    by: str
    groups: list[UsageTotals]
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: sums by what, over which requests."""

    by: str
    since: datetime
    until: datetime
    model: str = ""
    key: UUID | None = None
    member: UUID | None = None
    outcome: str = ""
    tag: str = ""  # a tag's name, or name=value


@dataclass(slots=True)
class _Sum:
    """Sums while they are put together."""

    requests: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    charges: dict[str, int] = field(default_factory=dict)

    def add(self, row: dict[str, Any]) -> None:
        """Add one row of a query."""
        self.requests += row["requests"]
        for name in _COUNTS:
            self.counts[name] += int(row[f"sum_{name}"] or 0)
        if row["currency"]:
            charge = int(row["sum_charge_nano"] or 0)
            self.charges[row["currency"]] = self.charges.get(row["currency"], 0) + charge

    def totals(self, group: str | None) -> UsageTotals:
        """The finished sums."""
        return UsageTotals(
            group=group,
            requests=self.requests,
            prompt_tokens=self.counts["prompt_tokens"],
            cached_tokens=self.counts["cached_tokens"],
            completion_tokens=self.counts["completion_tokens"],
            gpu_seconds=plain(self.counts["gpu_ns"]),
            slot_seconds=plain(self.counts["slot_ms"] * 1_000_000),
            charges=[
                Charge(currency=currency, nano=nano, amount=plain(nano))
                for currency, nano in sorted(self.charges.items())
            ],
        )


def usage_summary(
    *,
    by: str = "day",
    since: datetime | None = None,
    until: datetime | None = None,
    model: str = "",
    key: UUID | None = None,
    member: UUID | None = None,
    outcome: str = "",
    tag: str = "",
) -> UsageSummary:
    """Requests, tokens, GPU time and charges in scope of requests that started from `since` to before `until`.

    The last 30 days unless said otherwise. Days and hours are UTC's. At most MAX_GROUPS groups, those with most
    requests first (days and hours: the latest first). Where tags are involved the span is widened to full hours
    (the answer's `since` and `until` tell), and groups are days, hours, models or tags only. Raises InvalidInput
    for a span that is empty or longer than MAX_SUMMARY_DAYS. Cost: one query over roll-ups, and one over the
    records of at most two hours.
    """
    end = until or clock.now()
    question = Question(by, since or end - timedelta(days=30), end, model, key, member, outcome, tag)
    if not timedelta(0) < question.until - question.since <= timedelta(days=MAX_SUMMARY_DAYS):
        raise InvalidInput(
            _("Ask for a span of at most %(days)d days that does not end before it begins.")
            % {"days": MAX_SUMMARY_DAYS},
            field="since",
        )
    if by == "tag" or tag:
        question = _of_tags(question)
        rows: Iterable[dict[str, Any]] = _tag_rows(question)
    else:
        rows = _rows(question)
    sums: dict[str | None, _Sum] = {}
    whole = _Sum()
    for row in rows:
        sums.setdefault(_name(by, row["group"]), _Sum()).add(row)
        whole.add(row)
    latest_first = by in ("day", "hour")
    ordered = sorted(
        ((group, each) for group, each in sums.items() if each.requests),
        key=lambda pair: str(pair[0]) if latest_first else (-pair[1].requests, str(pair[0])),
        reverse=latest_first,
    )
    return UsageSummary(
        since=question.since,
        until=question.until,
        by=by,
        groups=[each.totals(group) for group, each in ordered[:MAX_GROUPS]],
        totals=whole.totals(None),
    )


def _of_tags(question: Question) -> Question:
    if question.by not in _OF_TAGS or question.key or question.member or question.outcome:
        raise InvalidInput(
            _("Sums of tags are made by day, hour, model or tag, and can be narrowed to a model only."),
            field="tag",
        )
    return replace(question, since=floor_hour(question.since), until=ceil_hour(question.until))


def _segments(since: datetime, until: datetime) -> list[tuple[Grain, datetime, datetime]]:
    """The buckets that make up a span of full hours: days where there are full ones, hours around them."""
    begin_day, end_day = ceil_day(since), floor_day(until)
    if begin_day >= end_day:
        return [(Grain.HOUR, since, until)]
    parts = [
        (Grain.HOUR, since, begin_day),
        (Grain.DAY, begin_day, end_day),
        (Grain.HOUR, end_day, until),
    ]
    return [part for part in parts if part[1] < part[2]]


def _buckets(rows: QuerySet[Any], by: str, since: datetime, until: datetime) -> QuerySet[Any]:
    parts = [(Grain.HOUR, since, until)] if by == "hour" else _segments(since, until)
    wanted = Q()
    for grain, begin, end in parts:
        wanted |= Q(grain=grain, begin__gte=begin, begin__lt=end)
    return rows.filter(wanted)


def _rows(question: Question) -> Iterable[dict[str, Any]]:
    """Rows of sums by group and currency, from roll-ups and, at both ends, from records."""
    inner = (ceil_hour(question.since), floor_hour(question.until))
    edges = [(question.since, inner[0]), (inner[1], question.until)]
    if inner[0] >= inner[1]:
        edges = [(question.since, question.until)]
    else:
        kept = _narrowed(_buckets(UsageRollup.objects.get_queryset(), question.by, *inner), question)
        yield from _summed(kept, _group(question.by, "begin"))
    wanted = Q()
    for begin, end in edges:
        if begin < end:
            wanted |= Q(started_at__gte=begin, started_at__lt=end)
    if wanted:
        records = _narrowed(UsageRecord.objects.filter(wanted), question)
        yield from _summed(records, _group(question.by, "started_at"), raw=True)


def _narrowed(rows: QuerySet[Any], question: Question) -> QuerySet[Any]:
    given = {
        "model": question.model,
        "key_id": question.key,
        "user_id": question.member,
        "outcome": question.outcome,
    }
    return rows.filter(**{name: value for name, value in given.items() if value})


def _tag_rows(question: Question) -> QuerySet[Any]:
    rows = _buckets(TagRollup.objects.get_queryset(), question.by, question.since, question.until)
    if question.model:
        rows = rows.filter(model=question.model)
    if question.tag:
        name, has_value, value = question.tag.partition("=")
        rows = rows.filter(name=name, **({"value": value} if has_value else {}))
    return _summed(rows, _group(question.by, "begin"))


def _group(by: str, moment: str) -> Any:
    groups: dict[str, Any] = {
        "day": TruncDate(moment, tzinfo=UTC),
        "hour": TruncHour(moment, tzinfo=UTC),
        "model": F("model"),
        "key": F("key_id"),
        "member": F("user_id"),
        "outcome": F("outcome"),
        "tag": Concat(F("name"), Value("="), F("value")),
    }
    return groups[by]


def _summed(rows: QuerySet[Any], group: Any, *, raw: bool = False) -> QuerySet[Any]:
    measured: dict[str, Any] = {name: F(name) for name in _COUNTS}
    if raw:
        measured["gpu_ns"] = F("gpu_prefill_ns") + F("gpu_decode_ns")
        measured["slot_ms"] = Greatest(
            F("duration_ms") - F("queue_ms"), Value(0), output_field=BigIntegerField()
        )
    return (
        rows.order_by()
        .values("currency", group=group)
        .annotate(
            requests=Count("pk") if raw else Sum("requests"),
            **{f"sum_{name}": Sum(text) for name, text in measured.items()},
        )
    )


def _name(by: str, group: Any) -> str | None:
    """The group as the outside knows it."""
    if group is None:
        return None
    if by == "key":
        return public_id(APIKey.id_prefix, group)
    if by == "member":
        return public_id(User.id_prefix, group)
    return str(group.strftime("%Y-%m-%dT%H:00:00Z")) if by == "hour" else str(group)
