"""Usage records: whatever arrives how often and in what order, the rows are the same; and each tenant's are its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import selectors
from billing.models import UsageRecord
from billing.services.usage import ingest
from core.errors import NotFound
from core.scoping import ScopeError, platform_scope, tenant_scope
from tenants.models import Tenant
from tests.examples import examples
from tests.factories.billing import UsageRecordFactory

pytestmark = pytest.mark.django_db

STARTED_MS = 1_790_000_000_000


def note(tenant: Tenant, request_id: str = "req-1", **changes: Any) -> dict[str, Any]:
    """A record as an engine worker reports it."""
    return {
        "request_id": request_id,
        "tenant_id": str(tenant.pk),
        "key_id": str(UUID(int=1)),
        "user_id": None,
        "model": "atrium-starter",
        "version_id": str(UUID(int=2)),
        "deployment_id": str(UUID(int=3)),
        "replica": "node-1/0",
        "route": "chat.completions",
        "stream": True,
        "prompt_tokens": 12,
        "cached_tokens": 4,
        "completion_tokens": 30,
        "queue_ms": 3,
        "first_token_ms": 9,
        "duration_ms": 120,
        "outcome": "completed",
        "error_code": "",
        "end_user": "",
        "started_ms": STARTED_MS,
        "finished_ms": STARTED_MS + 120,
        **changes,
    }


def rows() -> list[dict[str, Any]]:
    """Everything that is stored, without the keys of the rows."""
    with platform_scope(reason="tests"):
        found = UsageRecord.objects.order_by("tenant_id", "request_id").values()
        return [{name: value for name, value in row.items() if name != "id"} for row in found]


def test_it_stores_what_was_reported(acme: Tenant) -> None:
    assert ingest([note(acme)]) == 1
    with tenant_scope(acme.pk):
        record = UsageRecord.objects.get()
    assert (record.request_id, record.model, record.stream) == ("req-1", "atrium-starter", True)
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (12, 4, 30)
    assert (record.queue_ms, record.first_token_ms, record.duration_ms) == (3, 9, 120)
    assert record.started_at == datetime.fromtimestamp(STARTED_MS / 1000, UTC)
    assert (record.key_id, record.user_id) == (UUID(int=1), None)


def test_it_counts_new_requests_only(acme: Tenant, globex: Tenant) -> None:
    batch = [note(acme), note(acme), note(acme, "req-2"), note(globex)]
    assert ingest(batch) == 3
    assert ingest(batch) == 0
    assert len(rows()) == 3


def test_a_report_takes_the_place_of_a_guess_and_never_the_other_way_round(acme: Tenant) -> None:
    lost = note(acme, outcome="lost", completion_tokens=500)
    for order in ([lost, note(acme)], [note(acme), lost]):
        for record in order:
            ingest([record])
        assert [row["outcome"] for row in rows()] == ["completed"]
        with platform_scope(reason="tests"):
            UsageRecord.objects.all().delete()


RECORDS = st.lists(
    st.builds(
        lambda tenant, number, outcome, tokens, first, replica: (
            tenant,
            {
                "request_id": f"req-{number}",
                "outcome": outcome,
                "completion_tokens": tokens,
                "first_token_ms": first,
                "replica": replica,
            },
        ),
        st.integers(0, 1),
        st.integers(0, 3),
        st.sampled_from(["completed", "cancelled", "failed", "lost"]),
        st.integers(0, 2),
        st.one_of(st.none(), st.integers(0, 2)),
        st.sampled_from(["a", "B", "é", "机"]),
    ),
    max_size=8,
)


@pytest.mark.slow
@given(records=RECORDS, data=st.data())
@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_duplication_and_order_of_batches_gives_the_same_rows(
    acme: Tenant, globex: Tenant, records: list[tuple[int, dict[str, Any]]], data: st.DataObject
) -> None:
    tenants = (acme, globex)
    notes = [note(tenants[number], **changes) for number, changes in records]
    shuffled = data.draw(
        st.permutations(notes + data.draw(st.lists(st.sampled_from(notes), max_size=6)) if notes else notes)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3)))
    batches = [shuffled[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    with transaction.atomic():
        ingest(notes)
        expected = rows()
        transaction.set_rollback(True)
    with transaction.atomic():
        new = sum(ingest(batch) for batch in batches)
        assert rows() == expected
        assert new == len(expected)
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "changes",
    [
        {"request_id": ""},
        {"request_id": None},
        {"request_id": "x" * 101},
        {"tenant_id": "not-an-id"},
        {"tenant_id": None},
        {"tenant_id": "7019360a-1a68-49ab-9095-e07ca95a5e17"},  # a tenant that does not exist
        {"prompt_tokens": "many"},
        {"started_ms": None},
        {"finished_ms": 10**20},
        {"version_id": "not-an-id"},
    ],
    ids=repr,
)
def test_what_belongs_to_no_request_is_skipped_and_does_not_hold_up_the_rest(
    acme: Tenant, changes: dict[str, Any]
) -> None:
    assert ingest([note(acme, **{"request_id": "bad", **changes}), note(acme, "good")]) == 1
    assert [row["request_id"] for row in rows()] == ["good"]


def test_a_record_without_a_tenant_field_is_skipped(acme: Tenant) -> None:
    broken = note(acme)
    del broken["tenant_id"]
    assert ingest([broken]) == 0


def test_what_a_client_wrote_cannot_break_the_batch(acme: Tenant) -> None:
    ingest([note(acme, end_user="a\0b\ud800" + "x" * 500, model="m" * 500, outcome="exploded", queue_ms=-5)])
    (row,) = rows()
    assert row["end_user"].startswith("ab?")
    assert len(row["end_user"]) == 256
    assert len(row["model"]) == 200
    assert (row["outcome"], row["queue_ms"]) == ("failed", 0)


def test_times_may_be_given_as_dates(acme: Tenant) -> None:
    record = note(
        acme, started_at="2026-11-22T10:00:00+08:00", finished_at=datetime(2026, 11, 22, 2, 1, tzinfo=UTC)
    )
    del record["started_ms"], record["finished_ms"]
    ingest([record])
    (row,) = rows()
    assert (row["finished_at"] - row["started_at"]).total_seconds() == 60


def test_the_same_request_id_in_two_tenants_is_two_requests(acme: Tenant, globex: Tenant) -> None:
    assert ingest([note(acme), note(globex)]) == 2


def test_a_tenant_sees_its_own_records_only(acme: Tenant, globex: Tenant) -> None:
    ours, theirs = UsageRecordFactory(tenant=acme), UsageRecordFactory(tenant=globex)
    with tenant_scope(acme.pk):
        assert list(selectors.usage_records()) == [ours]
        assert selectors.usage_record_by_public_id(public_id=ours.public_id) == ours
        for public_id in (theirs.public_id, "use_nonsense", UsageRecord(id=uuid4()).public_id):
            with pytest.raises(NotFound):
                selectors.usage_record_by_public_id(public_id=public_id)
        with connection.cursor() as cursor:
            cursor.execute("SELECT request_id FROM billing_usagerecord")
            assert cursor.fetchall() == [(ours.request_id,)]
    with pytest.raises(ScopeError):
        list(UsageRecord.objects.all())


def test_records_are_asked_for_by_time_and_model(acme: Tenant) -> None:
    ingest([note(acme, "a"), note(acme, "b", model="other", finished_ms=STARTED_MS + 10_000)])
    begin, middle, end = (datetime.fromtimestamp((STARTED_MS + ms) / 1000, UTC) for ms in (0, 10_000, 10_001))
    with tenant_scope(acme.pk):
        found: Callable[..., list[str]] = lambda records: [record.request_id for record in records]  # noqa: E731
        assert found(selectors.usage_records()) == ["b", "a"]
        assert found(selectors.usage_records().finished_between(begin, middle)) == ["a"]
        assert found(selectors.usage_records().finished_between(middle, end)) == ["b"]
        assert found(selectors.usage_records().for_model("other")) == ["b"]
