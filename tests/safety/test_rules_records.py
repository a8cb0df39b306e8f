"""What became of rules: texts that wait for a person, and hits that are counted once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from audit.models import AuditEvent
from core import clock
from core.actors import Actor
from core.errors import InvalidInput, NotAllowed, NotFound
from core.ids import new_id
from core.scoping import platform_scope, tenant_scope
from core.valkey import async_client, sync_client
from safety import tasks
from safety.errors import AlreadyDecided
from safety.hits_sink import HitSink
from safety.models import HitBatch, HitCount, Review
from safety.services import hits, reviews
from safety.spec import Action, Direction, Kind, Severity, Verdict
from tenants.models import Tenant
from tests.factories import safety as factories

pytestmark = pytest.mark.django_db
REFUSED = Verdict("test.thunder", 3, Kind.TERMS, "weather", Severity.HIGH, Action.REVIEW, Direction.IN, 0, 7)


def verdict(rule: str = "test.thunder", **fields: Any) -> Verdict:
    return Verdict(
        **{
            "rule": rule,
            "version": 3,
            "kind": Kind.TERMS,
            "category": "weather",
            "severity": Severity.HIGH,
            "action": Action.BLOCK,
            "direction": Direction.IN,
            "start": 0,
            "end": 7,
            **fields,
        }
    )


def hold(tenant: Tenant, text: str) -> Review:
    row = reviews.hold(
        tenant_id=tenant.pk,
        text=text,
        verdicts=[REFUSED],
        refused=REFUSED,
        direction=Direction.IN,
        request_id="req_1",
    )
    assert row is not None
    return row


def trail(action: str) -> list[AuditEvent]:
    with platform_scope("tests"):
        return list(AuditEvent.objects.filter(action=action).order_by("id"))


# --- Reviews


def test_a_held_text_is_kept_encrypted_and_once(acme: Tenant, globex: Tenant) -> None:
    first, again = hold(acme, factories.SECRET_WORD), hold(acme, factories.SECRET_WORD)
    assert first.pk == again.pk
    theirs = hold(globex, factories.SECRET_WORD)
    assert theirs.digest != first.digest
    with tenant_scope(acme.pk):
        row = Review.objects.get()
        assert row.times_refused == 2
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_jsonb(r)::text FROM safety_review r")
            stored = cursor.fetchall()
    assert len(stored) == 1
    assert factories.SECRET_WORD not in stored[0][0]


def test_the_text_is_read_by_who_decides_and_that_is_written_down(
    acme: Tenant, alice: Any, bob: Any, actor_of: Callable[..., Actor]
) -> None:
    row = hold(acme, "a thunder, please")
    with tenant_scope(acme.pk):
        assert reviews.read_text(review=row, actor=actor_of(alice, "owner")) == "a thunder, please"
        with pytest.raises(NotAllowed):
            reviews.read_text(review=row, actor=actor_of(bob, "developer"))
        key = Actor(kind="key", label="k", scopes=frozenset({"manage"}))
        with pytest.raises(NotAllowed):
            reviews.read_text(review=row, actor=key)
    (event,) = trail("safety.review.opened")
    assert event.actor_id == alice.pk


def test_a_decision_is_made_once_with_a_reason(
    acme: Tenant, alice: Any, actor_of: Callable[..., Actor]
) -> None:
    actor = actor_of(alice, "owner")
    row = hold(acme, "a thunder, please")
    with tenant_scope(acme.pk):
        with pytest.raises(InvalidInput):
            reviews.approve(review=row, actor=actor, reason="  ")
        approved = reviews.approve(review=row, actor=actor, reason="a report")
        assert (approved.state, approved.decided_by) == ("approved", alice.email)
        for decide in (reviews.approve, reviews.reject):
            with pytest.raises(AlreadyDecided):
                decide(review=row, actor=actor, reason="again")
        assert reviews.withdraw(review=row, actor=actor, reason="a mistake").state == "rejected"
        with pytest.raises(AlreadyDecided):
            reviews.withdraw(review=row, actor=actor, reason="again")
    assert [event.reason for event in trail("safety.review.approved")] == ["a report"]
    assert [event.before for event in trail("safety.review.withdrawn")] == [{"state": "approved"}]


def test_not_more_wait_than_anybody_can_read(acme: Tenant, monkeypatch: Any) -> None:
    monkeypatch.setattr(reviews, "MAX_WAITING", 2)
    hold(acme, "one")
    hold(acme, "two")
    third = reviews.hold(
        tenant_id=acme.pk, text="three", verdicts=[REFUSED], refused=REFUSED, direction=Direction.IN
    )
    assert third is None
    assert hold(acme, "one").times_refused == 2


def test_a_long_text_is_cut_and_says_so(acme: Tenant, machine: Actor, monkeypatch: Any) -> None:
    monkeypatch.setattr(reviews, "MAX_TEXT", 10)
    row = hold(acme, "x" * 11)
    assert (row.is_cut, row.text_length) == (True, 11)
    with tenant_scope(acme.pk):
        assert reviews.read_text(review=row, actor=machine) == "x" * 10


def test_old_texts_are_forgotten_and_decisions_are_not(acme: Tenant, machine: Actor) -> None:
    waiting, decided, fresh = hold(acme, "waits"), hold(acme, "decided"), hold(acme, "fresh")
    with tenant_scope(acme.pk):
        reviews.approve(review=decided, actor=machine, reason="fine")
    later = clock.now() + timedelta(days=reviews.DECIDED_DAYS + 1)
    assert reviews.forget_old(now=later) == {"waiting": 0, "texts": 1}
    with tenant_scope(acme.pk):
        decided.refresh_from_db()
        assert (decided.state, decided.text_cipher) == ("approved", "")
        with pytest.raises(NotFound):
            reviews.read_text(review=decided, actor=machine)
        Review.objects.filter(pk=fresh.pk).update(updated_at=later + timedelta(days=60))
    much_later = clock.now() + timedelta(days=reviews.WAITING_DAYS + 1)
    assert reviews.forget_old(now=much_later)["waiting"] == 1
    with tenant_scope(acme.pk):
        assert not Review.objects.filter(pk=waiting.pk).exists()
        assert Review.objects.filter(pk=fresh.pk).exists()


# --- Hits


@pytest.fixture
def stream() -> Iterator[None]:
    """The stream of hits, empty before and after."""
    sync_client().delete(hits.STREAM)
    yield
    sync_client().delete(hits.STREAM)


def counted(tenant: Tenant) -> dict[tuple[str, str, str], int]:
    with tenant_scope(tenant.pk):
        rows = HitCount.objects.values_list("rule", "action", "direction", "count")
        return {(rule, action, direction): count for rule, action, direction, count in rows}


@pytest.mark.usefixtures("stream")
def test_hits_are_added_up_by_rule_version_action_and_direction(acme: Tenant, globex: Tenant) -> None:
    hits.record(hits.counts_of(acme.pk, [verdict(), verdict(), verdict(direction=Direction.OUT)]))
    hits.record(hits.counts_of(acme.pk, [verdict(), verdict(version=4)]))
    hits.record(hits.counts_of(globex.pk, [verdict("test.hail", action=Action.FLAG)]))
    assert hits.ingest() == 3
    with tenant_scope(acme.pk):
        rows = HitCount.objects.order_by("version", "direction")
        assert [(row.version, row.direction, row.count) for row in rows] == [
            (3, "in", 3),
            (3, "out", 1),
            (4, "in", 1),
        ]
        assert {row.day for row in rows} == {clock.now().date()}
    assert counted(globex) == {("test.hail", "flag", "in"): 1}
    assert sync_client().xlen(hits.STREAM) == 0
    assert hits.ingest() == 0


@pytest.mark.usefixtures("stream")
def test_what_is_delivered_twice_is_counted_once(acme: Tenant) -> None:
    batch = new_id()
    for _ in range(3):
        hits.record(hits.counts_of(acme.pk, [verdict()]), batch=batch)
    hits.ingest()
    hits.record(hits.counts_of(acme.pk, [verdict()]), batch=batch)
    hits.ingest()
    assert counted(acme) == {("test.thunder", "block", "in"): 1}


@pytest.mark.usefixtures("stream")
@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_worker_that_dies_loses_and_doubles_nothing(acme: Tenant, monkeypatch: Any, moment: str) -> None:
    hits.record(hits.counts_of(acme.pk, [verdict(), verdict()]))

    def dies(*_args: Any, **_options: Any) -> Any:
        raise OperationalError("killed")

    with monkeypatch.context() as patched:
        if moment == "before the commit":
            patched.setattr(hits, "_add", dies)
        else:
            client = sync_client()
            patched.setattr(client, "pipeline", dies)
        with pytest.raises(OperationalError):
            hits.ingest()
    assert hits.ingest() == 1
    assert counted(acme) == {("test.thunder", "block", "in"): 2}


@pytest.mark.usefixtures("stream")
def test_what_is_no_hit_stops_nobody(acme: Tenant) -> None:
    good = hits.fields_of(hits.counts_of(acme.pk, [verdict()]), new_id())
    row = [str(acme.pk), "2026-01-01", "r", 1, "c", "block", "in", 1]
    for wrong in (
        {"x": "y"},
        {"b": "nonsense", "c": good["c"]},
        {"b": new_id().hex, "c": b"[[1]]"},
        *({"b": new_id().hex, "c": hits.msgspec.json.encode([_with(row, *change)])} for change in _WRONG),
    ):
        sync_client().xadd(hits.STREAM, wrong)
    sync_client().xadd(hits.STREAM, good)
    assert hits.ingest() == 4 + len(_WRONG)
    assert counted(acme) == {("test.thunder", "block", "in"): 1}


_WRONG = [
    (0, "no tenant"),
    (1, "yesterday"),
    (2, "nul\x00"),
    (3, -1),
    (4, "x" * 51),
    (5, "explode"),
    (6, "up"),
    (7, 0),
    (7, 1 << 40),
]


def _with(row: list[Any], index: int, value: Any) -> list[Any]:
    return [*row[:index], value, *row[index + 1 :]]


@pytest.mark.usefixtures("stream")
def test_a_tenant_that_is_gone_leaves_no_count(acme: Tenant) -> None:
    hits.record(hits.counts_of(new_id(), [verdict()]))
    hits.record(hits.counts_of(acme.pk, [verdict()]))
    assert hits.ingest() == 2
    assert counted(acme) == {("test.thunder", "block", "in"): 1}
    with platform_scope("tests"):
        assert HitCount.objects.count() == 1


@pytest.mark.slow
@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(
        st.tuples(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), st.integers(1, 3)),
        max_size=8,
    )
)
def test_any_batches_in_any_number_of_deliveries_add_up(
    acme: Tenant, requests: list[tuple[list[str], int]]
) -> None:
    sync_client().delete(hits.STREAM)
    before = Counter({rule: count for (rule, _a, _d), count in counted(acme).items()})
    expected = before.copy()
    for rules, deliveries in requests:
        batch = new_id()
        expected.update(rules)
        for _ in range(deliveries):
            hits.record(hits.counts_of(acme.pk, [verdict(rule) for rule in rules]), batch=batch)
    hits.ingest()
    assert Counter({rule: count for (rule, _a, _d), count in counted(acme).items()}) == expected


@pytest.mark.usefixtures("stream")
def test_a_web_process_sends_what_it_counted_once_valkey_answers(acme: Tenant) -> None:
    async def work() -> None:
        client = async_client()
        failing = [RedisConnectionError("away"), RedisConnectionError("away")]
        real = client.xadd

        async def xadd(*args: Any, **options: Any) -> Any:
            answer = await real(*args, **options)
            if failing:
                raise failing.pop()  # it was written, and the answer was lost
            return answer

        client.xadd = xadd  # type: ignore[method-assign]
        sink = HitSink(client)
        for _ in range(10):
            sink.note(acme.pk, [verdict()])
        sink.note(acme.pk, [])
        await sink.close(timeout_s=20)
        await client.aclose()

    from safety import hits_sink

    before, hits_sink.RETRY_S = hits_sink.RETRY_S, 0.0
    try:
        asyncio.run(work())
    finally:
        hits_sink.RETRY_S = before
    assert sync_client().xlen(hits.STREAM) == 3
    tasks.ingest_hits()
    assert counted(acme) == {("test.thunder", "block", "in"): 10}


def test_batches_are_forgotten_when_nothing_delivers_them_again() -> None:
    old, new = HitBatch.objects.create(), HitBatch.objects.create()
    HitBatch.objects.filter(pk=old.pk).update(counted_at=clock.now() - hits.BATCH_MEMORY - timedelta(hours=1))
    tasks.forget_old()
    assert list(HitBatch.objects.values_list("pk", flat=True)) == [new.pk]
