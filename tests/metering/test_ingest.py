"""Usage records from the stream to PostgreSQL, killed at the worst moments (L11)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import OperationalError, connection
from redis.exceptions import RedisError

from billing.models import UsageRecord
from billing.services import usage as billing_usage
from core.scoping import platform_scope
from core.valkey import sync_client
from inference import tasks
from inference.queue.keys import USAGE, written
from inference.queue.wire import encode_usage
from inference.services import engine_totals, usage
from tenants.models import Tenant
from tests.database import as_runtime
from tests.factories.tenants import TenantFactory
from tests.metering.notes import in_stream, note

pytestmark = pytest.mark.usefixtures("transactional_db")
ROOT = Path(__file__).resolve().parents[2]
JOURNAL = "node-test"


@pytest.fixture
def tenants(stream: str) -> Iterator[list[Tenant]]:
    sync_client().delete(usage.REFUSED, written(JOURNAL))
    yield [TenantFactory(slug=slug) for slug in ("acme", "globex", "initech")]
    sync_client().delete(usage.REFUSED, written(JOURNAL))


def offer(tenants: list[Tenant], count: int, *, start: int = 0) -> set[str]:
    """Put notes into the stream; returns their request ids."""
    pipeline = sync_client().pipeline(transaction=False)
    ids = []
    for number in range(start, start + count):
        tenant = tenants[number % len(tenants)]
        ids.append(f"req-{number}")
        pipeline.xadd(USAGE, {"r": encode_usage(note(tenant.pk, ids[-1])), "j": f"{JOURNAL}:{number}"})
    pipeline.execute()
    return set(ids)


def stored() -> list[str]:
    with platform_scope(reason="tests"):
        return sorted(UsageRecord.objects.values_list("request_id", flat=True))


def confirmed() -> set[int]:
    return {int(number) for number in sync_client().smembers(written(JOURNAL))}  # type: ignore[union-attr]


def test_records_arrive_leave_the_stream_and_are_confirmed(tenants: list[Tenant]) -> None:
    ids = offer(tenants, 30)
    told: list[Any] = []

    def write(records: list[dict[str, Any]]) -> list[Any]:
        billing_usage.ingest(records)
        return [record["request_id"] for record in records]

    assert usage.ingest(write=write, after_commit=told.extend) == 30
    assert stored() == sorted(ids) == sorted(told)
    assert in_stream() == []
    assert confirmed() == set(range(30))
    assert usage.ingest() == 0


def test_it_is_told_after_the_commit(tenants: list[Tenant]) -> None:
    """Whoever is told may count on the rows: another connection sees them."""
    offer(tenants, 3)
    seen = []

    def after_commit(_results: list[Any]) -> None:
        assert not connection.in_atomic_block
        seen.append(len(stored()))

    usage.ingest(after_commit=after_commit)
    assert seen == [3]


CHILD = """
import os, signal, sys
import django
django.setup()
from inference.services import intake, usage

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write_and_die(records):
    usage._write(records)
    die()

for point in sys.argv[1:]:
    child = os.fork()
    if not child:
        if point == "before the commit":
            usage.ingest(write=write_and_die)
        elif point == "before it is told":
            usage.ingest(after_commit=die)
        else:
            intake.by_journal = die
            usage.ingest()
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""


def kill_at(*points: str) -> list[str]:
    """Ingest in processes of their own, each killed at its point; the signals that they died of."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    url = urlunsplit(parts._replace(path="/" + str(connection.settings_dict["NAME"])))
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *points], env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode().split()


@pytest.mark.slow
def test_killed_anywhere_nothing_is_lost_and_nothing_counts_twice(tenants: list[Tenant]) -> None:
    ids = offer(tenants, 60)
    assert kill_at("before the commit") == ["9"]
    assert stored() == []
    assert len(in_stream()) == 60
    assert kill_at("before it is told", "before it leaves the stream") == ["9", "9"]
    assert stored() == sorted(ids)
    assert len(in_stream()) == 60
    assert confirmed() == set()
    told: list[Any] = []

    def write(records: list[dict[str, Any]]) -> list[Any]:
        billing_usage.ingest(records)
        return [record["request_id"] for record in records]

    usage.ingest(write=write, after_commit=told.extend)  # the dead one's lock went with it
    assert sorted(told) == sorted(ids)
    assert stored() == sorted(ids)
    assert in_stream() == []
    assert confirmed() == set(range(60))


def test_duplicates_from_stream_and_journal_make_one_record(tenants: list[Tenant]) -> None:
    """F24: the same message twice in one batch, and again in a later one."""
    offer(tenants, 5)
    offer(tenants, 5)
    usage.ingest()
    offer(tenants, 5)
    usage.ingest()
    assert stored() == [f"req-{number}" for number in range(5)]


def test_one_at_a_time(tenants: list[Tenant]) -> None:
    offer(tenants, 3)
    with as_runtime() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [usage.LOCK])
        assert usage.ingest() == 0
        assert len(in_stream()) == 3
        other.execute("SELECT pg_advisory_unlock_all()")
    assert usage.ingest() == 3
    with as_runtime() as other:
        row = other.execute("SELECT pg_try_advisory_lock(%s)", [usage.LOCK]).fetchone()
        assert row is not None
        assert row[0], "the lock is given back"


def test_f05_costs_are_kept_when_valkey_fails_before_it_is_told(tenants: list[Tenant]) -> None:
    ids = offer(tenants, 3)

    def away(_results: list[Any]) -> None:
        raise RedisError("away")

    def write(records: list[dict[str, Any]]) -> list[Any]:
        billing_usage.ingest(records)
        return [record["request_id"] for record in records]

    with pytest.raises(RedisError):
        usage.ingest(write=write, after_commit=away)
    assert stored() == sorted(ids)
    assert len(in_stream()) == 3
    told: list[Any] = []
    assert usage.ingest(write=write, after_commit=told.extend) == 3
    assert sorted(told) == sorted(ids)
    assert stored() == sorted(ids)


@pytest.mark.parametrize(
    ("task", "work", "lock"),
    [
        (tasks.sweep_holds, "inference.services.sweep.sweep", tasks.SWEEPING),
        (tasks.reap_requests, "inference.services.reaper.reap", tasks.REAPING),
    ],
)
def test_a_killed_worker_keeps_nobody_from_clearing_up(
    stream: str, monkeypatch: pytest.MonkeyPatch, task: Any, work: str, lock: int
) -> None:
    done: list[int] = []
    monkeypatch.setattr(work, lambda: done.append(1))
    with as_runtime() as other:
        other.execute("SELECT pg_advisory_lock(%s)", [lock])
        task()
        assert done == []
    for _ in range(100):  # PostgreSQL notices that the other's connection is gone
        task()
        if done:
            break
        time.sleep(0.05)
    task()
    assert done == [1, 1]


def test_a_database_that_is_away_is_not_the_records_fault(tenants: list[Tenant]) -> None:
    """The records stay where they are; none is put aside."""
    ids = offer(tenants, 8)

    def write(_records: list[dict[str, Any]]) -> list[Any]:
        raise OperationalError("the database system is shutting down")

    for _ in range(3):
        with pytest.raises(OperationalError):
            usage.ingest(write=write)
    assert len(in_stream()) == 8
    assert not sync_client().exists(usage.REFUSED)
    usage.ingest()
    assert stored() == sorted(ids)


def test_poison_is_put_aside_and_holds_nobody_up(tenants: list[Tenant]) -> None:
    """F24, F25: what cannot be read, and what cannot be written."""
    sync_client().xadd(USAGE, {"r": b"{not json"})
    sync_client().xadd(USAGE, {"other": b"field"})
    ids = offer(tenants, 9)

    def write(records: list[dict[str, Any]]) -> list[Any]:
        if any(record["request_id"] == "req-4" for record in records):
            raise ValueError("a record that breaks its writer")
        billing_usage.ingest(records)
        return []

    usage.ingest(write=write)
    assert stored() == sorted(ids - {"req-4"})
    assert in_stream() == []
    assert sync_client().xlen(usage.REFUSED) == 3


def test_totals_of_replicas_are_kept_until_they_have_ended(stream: str) -> None:
    import msgspec

    from core import clock
    from inference.queue.keys import ENGINE_TOTALS
    from inference.queue.wire import EngineTotals

    now = clock.epoch_ms()
    rows = [
        EngineTotals("running", "d", "n", 1, now),
        EngineTotals("ended", "d", "n", 1, now, ended_ms=now, mark=f"{JOURNAL}:7"),
        EngineTotals("killed", "d", "n", 1, now - 120_000),
    ]
    for row in rows:
        sync_client().hset(ENGINE_TOTALS, row.replica, msgspec.json.encode(row))
    sync_client().hset(ENGINE_TOTALS, "broken", "{")
    found = engine_totals.engine_totals()
    assert sorted(one.replica for one in found) == ["ended", "killed", "running"]
    engine_totals.forget(found)
    assert [one.replica for one in engine_totals.engine_totals()] == ["running"]
    assert confirmed() == {7}
    sync_client().delete(written(JOURNAL))
