"""Roll-ups are the sums of the records, whatever was written, changed, removed, moved or made anew."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import selectors
from billing.models import Grain, TagRollup, UsageRecord, UsageRollup
from billing.services import rollups
from core.errors import InvalidInput
from core.scoping import tenant_scope
from tenants.models import Tenant
from tests.billing.settled import OCTOBER, record, settle

pytestmark = pytest.mark.django_db

MEASURES = (
    *("requests", "prompt_tokens", "cached_tokens", "completion_tokens"),
    *("gpu_ns", "slot_ms", "charge_nano"),
)


def measured(row: UsageRecord) -> tuple[int, ...]:
    """What one record adds to each measure."""
    return (
        *(1, row.prompt_tokens, row.cached_tokens, row.completion_tokens),
        row.gpu_prefill_ns + row.gpu_decode_ns,
        max(0, row.duration_ms - row.queue_ms),
        row.charge_nano,
    )


def expected() -> tuple[Counter[Any], Counter[Any]]:
    """The sums of all records in scope, in Python."""
    usage: Counter[Any] = Counter()
    tags: Counter[Any] = Counter()
    for row in UsageRecord.objects.all():
        for grain, cut in ((Grain.HOUR, {}), (Grain.DAY, {"hour": 0})):
            begin = row.started_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0, **cut)
            for name, value in zip(MEASURES, measured(row), strict=True):
                group = (row.key_id, row.user_id, row.outcome, row.price_id)
                usage[(grain.value, begin, row.model, row.currency, *group, name)] += value
                for tag in sorted(row.tags)[:8]:
                    tags[grain.value, begin, row.model, row.currency, tag, row.tags[tag], name] += value
    return +usage, +tags


def kept() -> tuple[Counter[Any], Counter[Any]]:
    """The roll-ups."""
    usage: Counter[Any] = Counter()
    tags: Counter[Any] = Counter()
    for row in UsageRollup.objects.all():
        for name in MEASURES:
            group = (row.key_id, row.user_id, row.outcome, row.price_id)
            usage[(row.grain, row.begin, row.model, row.currency, *group, name)] += getattr(row, name)
    for tag in TagRollup.objects.all():
        for name in MEASURES:
            tags[tag.grain, tag.begin, tag.model, tag.currency, tag.name, tag.value, name] += getattr(
                tag, name
            )
    return +usage, +tags


ROWS = st.builds(
    dict,
    number=st.integers(0, 5),
    started_at=st.integers(0, 3).map(lambda n: OCTOBER + timedelta(hours=23, minutes=50 * n)),
    model=st.sampled_from(["a", "b"]),
    key_id=st.sampled_from([None, UUID(int=1)]),
    user_id=st.sampled_from([None, UUID(int=2)]),
    outcome=st.sampled_from(["completed", "lost"]),
    prompt_tokens=st.integers(0, 9),
    completion_tokens=st.integers(0, 9),
    gpu_decode_ns=st.integers(0, 9),
    queue_ms=st.integers(0, 2000),
    charge_nano=st.integers(0, 9),
    currency=st.sampled_from(["", "CNY", "USD"]),
    tags=st.dictionaries(st.sampled_from("abcdefghijk"), st.sampled_from(["", "x"])),
)
STEPS = st.lists(st.tuples(st.sampled_from(["insert", "change", "remove"]), ROWS), max_size=12)


@pytest.mark.slow
@given(steps=STEPS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_they_are_the_sums_of_the_records_after_any_writes(
    acme: Tenant, steps: list[tuple[str, dict[str, Any]]]
) -> None:
    with transaction.atomic(), tenant_scope(acme.pk):
        for step, given_fields in steps:
            fields = dict(given_fields)
            name = f"req-{fields.pop('number')}"
            found = UsageRecord.objects.filter(request_id=name)
            if step == "remove":
                found.delete()
            elif step == "change":
                fields.pop("started_at")
                found.update(**fields)
            elif not found.exists():
                UsageRecord.objects.bulk_create([record(acme, name, **fields)])
        assert kept() == expected()
        before = kept()
        connection.cursor().execute("UPDATE billing_usagerollup SET requests = requests + 1")
        rollups.rebuild(tenant_id=acme.pk, month=OCTOBER.date())
        assert kept() == before
        transaction.set_rollback(True)


def test_a_better_record_in_the_place_of_a_guess_changes_them_by_the_difference(acme: Tenant) -> None:
    settle(acme, record(acme, "one", outcome="lost", completion_tokens=500, charge_nano=7))
    with tenant_scope(acme.pk):
        UsageRecord.objects.filter(request_id="one").update(
            outcome="completed", completion_tokens=3, charge_nano=2
        )
        day = UsageRollup.objects.filter(grain="day").exclude(requests=0).get()
        assert (day.outcome, day.completion_tokens, day.charge_nano) == ("completed", 3, 2)


def test_a_batch_that_is_rolled_back_leaves_no_trace(acme: Tenant) -> None:
    with tenant_scope(acme.pk):
        with transaction.atomic():
            UsageRecord.objects.bulk_create([record(acme, "one")])
            assert UsageRollup.objects.exists()
            transaction.set_rollback(True)
        assert not UsageRollup.objects.exists()


def test_no_record_can_hold_up_others_by_its_size(acme: Tenant) -> None:
    most = (1 << 63) - 1
    huge = [record(acme, f"h{n}", prompt_tokens=most, duration_ms=most, queue_ms=0) for n in range(3)]
    settle(acme, *huge, record(acme, "t", tags={"k" * 64: "é" * 5000}, model="机" * 200))
    with tenant_scope(acme.pk):
        assert UsageRecord.objects.count() == 4


@pytest.mark.slow
@given(
    since=st.integers(0, 72 * 60),
    length=st.integers(1, 80 * 60),
    starts=st.lists(st.integers(0, 72 * 60), min_size=1, max_size=6),
    by=st.sampled_from(["day", "hour", "model", "key", "member", "outcome"]),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_of_any_span_are_exact_to_the_record(
    acme: Tenant, since: int, length: int, starts: list[int], by: str
) -> None:
    begin = OCTOBER + timedelta(minutes=since)
    end = begin + timedelta(minutes=length)
    with transaction.atomic(), tenant_scope(acme.pk):
        UsageRecord.objects.bulk_create(
            [
                record(acme, f"r{number}", started_at=OCTOBER + timedelta(minutes=start))
                for number, start in enumerate(starts)
            ]
        )
        inside = [start for start in starts if since <= start < since + length]
        summary = selectors.usage_summary(by=by, since=begin, until=end)
        assert sum(group["requests"] for group in summary["groups"]) == len(inside)
        assert summary["totals"]["completion_tokens"] == 20 * len(inside)
        assert summary["totals"]["slot_seconds"] == (
            f"{len(inside) * 900 / 1000:.3f}".rstrip("0").rstrip(".") or "0"
        )
        transaction.set_rollback(True)


def test_costs_are_told_apart_by_currency_and_by_tag(acme: Tenant, globex: Tenant) -> None:
    settle(
        acme,
        record(acme, "a", tags={"team": "red", "stage": "live"}, charge_nano=3),
        record(acme, "b", tags={"team": "blue"}, charge_nano=4, currency="USD"),
        record(acme, "c", charge_nano=5),
    )
    settle(globex, record(globex, "a", tags={"team": "red"}, charge_nano=1000))
    span = {"since": OCTOBER, "until": OCTOBER + timedelta(days=31)}
    with tenant_scope(acme.pk):
        by_tag = selectors.usage_summary(by="tag", **span)
        assert {group["group"]: group["charges"][0]["nano"] for group in by_tag["groups"]} == {
            "team=red": 3,
            "stage=live": 3,
            "team=blue": 4,
        }
        red = selectors.usage_summary(by="model", tag="team=red", **span)
        assert [group["charges"] for group in red["groups"]] == [
            [{"currency": "CNY", "nano": 3, "amount": "0.000000003"}]
        ]
        whole = selectors.usage_summary(by="model", **span)
        assert {charge["currency"]: charge["nano"] for charge in whole["totals"]["charges"]} == {
            "CNY": 8,
            "USD": 4,
        }
        with pytest.raises(InvalidInput):
            selectors.usage_summary(by="key", tag="team", **span)


def test_rebuilding_takes_whole_days_only(acme: Tenant) -> None:
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match="whole days"):
        cursor.execute(
            "SELECT billing_rebuild_rollups(%s, %s, %s)",
            [acme.pk, datetime(2026, 10, 1, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)],
        )
