"""Times of last use: collected in Valkey, stored in the database, never lost and never set back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from access.models import APIKey
from access.services import usage
from access.tasks import flush_key_use
from core.scoping import platform_scope
from core.valkey import sync_client
from tenants.models import Tenant
from tests.factories.access import APIKeyFactory

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


@pytest.fixture(autouse=True)
def hash_of_this_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hash that no other test process writes to."""
    name = f"tests:key-use:{uuid4()}"
    monkeypatch.setattr(usage, "KEY_USE", name)
    yield name
    sync_client().delete(name)


def last_use(key: APIKey) -> datetime | None:
    """What the database has."""
    with platform_scope(reason="tests"):
        return APIKey.objects.get(pk=key.pk).last_used_at


def test_uses_of_several_tenants_are_stored_and_forgotten(
    acme: Tenant, globex: Tenant, hash_of_this_test: str
) -> None:
    keys = [APIKeyFactory(tenant=acme), APIKeyFactory(tenant=globex)]
    untouched = APIKeyFactory(tenant=acme)
    for number, key in enumerate(keys):
        sync_client().hset(hash_of_this_test, str(key.pk), NOON_MS + number * 1000)
    assert usage.flush() == 2
    assert [last_use(key) for key in keys] == [NOON, NOON.replace(second=1)]
    assert last_use(untouched) is None
    assert sync_client().hgetall(hash_of_this_test) == {}


def test_times_never_go_back(acme: Tenant, hash_of_this_test: str) -> None:
    key = APIKeyFactory(tenant=acme, last_used_at=NOON)
    sync_client().hset(hash_of_this_test, str(key.pk), NOON_MS - 60_000)
    assert usage.flush() == 0
    assert last_use(key) == NOON


def test_what_is_noted_meanwhile_stays_for_the_next_time(
    acme: Tenant, hash_of_this_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = APIKeyFactory(tenant=acme)
    sync_client().hset(hash_of_this_test, str(key.pk), NOON_MS)
    stored = usage._store

    def store_while_another_request_comes(uses: dict) -> int:  # type: ignore[type-arg]
        touched = stored(uses)
        sync_client().hset(hash_of_this_test, str(key.pk), NOON_MS + 5_000)
        return touched

    monkeypatch.setattr(usage, "_store", store_while_another_request_comes)
    usage.flush()
    monkeypatch.undo()
    assert sync_client().hget(hash_of_this_test, str(key.pk)) == str(NOON_MS + 5_000).encode()


def test_what_cannot_be_read_or_is_gone_is_dropped(acme: Tenant, hash_of_this_test: str) -> None:
    key = APIKeyFactory(tenant=acme)
    entries = {str(uuid4()): NOON_MS, "nonsense": NOON_MS, str(key.pk): NOON_MS}
    sync_client().hset(hash_of_this_test, mapping=entries)
    sync_client().hset(hash_of_this_test, str(uuid4()), "soon")
    flush_key_use()
    assert last_use(key) == NOON
    assert sync_client().hlen(hash_of_this_test) == 0


@pytest.mark.slow
def test_many_keys_go_in_bounded_batches(
    acme: Tenant, hash_of_this_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "BATCH", 3)
    keys = APIKeyFactory.create_batch(20, tenant=acme)
    # Long enough values that Valkey keeps a real hash table, which it scans in parts.
    sync_client().hset(hash_of_this_test, mapping={str(uuid4()): "x" * 100 for _ in range(200)})
    sync_client().hset(hash_of_this_test, mapping={str(key.pk): NOON_MS for key in keys})
    assert usage.flush() == 20
    assert {last_use(key) for key in keys} == {NOON}


def test_a_use_is_noted_and_a_lost_note_is_no_harm(
    acme: Tenant, hash_of_this_test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = APIKeyFactory(tenant=acme)
    usage.note(key=key)
    usage.flush()
    assert last_use(key) is not None

    def gone() -> object:
        raise RedisConnectionError

    monkeypatch.setattr(usage, "sync_client", gone)
    usage.note(key=key)
    monkeypatch.undo()
