"""A month's counters against PostgreSQL: seeded once (F03), and PostgreSQL wins (F04); and the sweep (L14)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from core.valkey import sync_client
from inference.admission import release
from inference.admission.keys import TENANTS
from inference.errors import Rejected
from inference.queue.keys import USAGE, DeploymentKeys
from inference.queue.wire import UsageNote, encode_usage
from inference.services import sweep
from tests.factories.billing import UsageRecordFactory
from tests.factories.tenants import TenantFactory
from tests.inference.admission.harness import Desk, policy, route

MONTH = datetime.now(UTC).strftime("%Y%m")


def in_thread(work: Any, *args: Any, **options: Any) -> Any:
    def call() -> Any:
        try:
            return work(*args, **options)
        finally:
            connections.close_all()

    return asyncio.to_thread(call)


def used(tenant: Any, tokens: int, request_id: str = "", **fields: Any) -> Any:
    return UsageRecordFactory(
        tenant=tenant,
        request_id=request_id or f"req_{uuid4().hex}",
        prompt_tokens=tokens,
        completion_tokens=0,
        started_at=datetime.now(UTC),
        finished_at=datetime.now(UTC),
        **fields,
    )


@pytest.fixture
def tenant(transactional_db: None, desk: Desk, another: Desk) -> Any:
    made = TenantFactory()
    desk.tenant = another.tenant = made.pk
    return made


async def test_f03_a_cold_counter_is_seeded_once_by_however_many(
    desk: Desk, another: Desk, tenant: Any
) -> None:
    for _ in range(3):
        await in_thread(used, tenant, 100)
    rules = policy(("monthly_tokens", 1_000), ("monthly_calls", 100))
    await asyncio.gather(*((desk, another)[n % 2].ask(rules, tokens=10) for n in range(20)))
    assert await desk.month(MONTH) == [23, 500, 0, 0]


async def test_f04_a_counter_of_an_earlier_memory_is_thrown_away(desk: Desk, tenant: Any) -> None:
    await in_thread(used, tenant, 95)
    await desk.client.hset(desk.keys.money, mapping={"epoch": "before", "escrow:CNY": 0})
    await desk.client.hset(desk.keys.months, f"{MONTH}|t", "0|0|0|0")
    rules = policy(("monthly_tokens", 100))
    await desk.ask(rules, tokens=5)
    with pytest.raises(Rejected) as refused:
        await desk.ask(rules, tokens=1)
    assert refused.value.limit is not None
    assert refused.value.limit["remaining"] == 0
    assert refused.value.limit["reset_at"].endswith("-01T00:00:00.000Z")


async def test_what_is_in_flight_counts_in_a_limit_that_is_new(desk: Desk, tenant: Any) -> None:
    running = await desk.ask(policy(), tokens=70)
    settled = await desk.ask(policy(), tokens=50)
    await in_thread(used, tenant, 20, settled.request_id)
    await desk.release(settled, tokens=20)
    rules = policy(("monthly_tokens", 100))
    await desk.ask(rules, tokens=10)  # 70 held, 20 used
    assert await desk.month(MONTH) == [3, 100, 0, 0]
    await desk.release(running, tokens=1)
    assert await desk.month(MONTH) == [3, 31, 0, 0]


async def test_records_that_postgresql_does_not_have_yet_count(desk: Desk, tenant: Any) -> None:
    note = UsageNote(
        request_id=f"req_{uuid4().hex}", tenant_id=str(tenant.pk), key_id=None, user_id=None, model="sim",
        version_id=str(route().version_id), deployment_id=str(route().deployment_id), replica="", route="",
        stream=False, prompt_tokens=90, cached_tokens=0, completion_tokens=0, queue_ms=0, first_token_ms=None,
        duration_ms=0, outcome="completed", error_code="", end_user="",
        started_ms=int(datetime.now(UTC).timestamp() * 1000), finished_ms=0, epoch="before",
    )  # fmt: skip
    entry = await desk.client.xadd(USAGE, {"r": encode_usage(note)})
    rules = policy(("monthly_tokens", 100))
    await desk.ask(rules, tokens=10)
    with pytest.raises(Rejected):
        await desk.ask(rules, tokens=1)
    await desk.client.xdel(USAGE, entry)


async def test_keys_and_models_have_counters_of_their_own(desk: Desk, tenant: Any) -> None:
    key = uuid4()
    await in_thread(used, tenant, 50, key_id=key)
    await in_thread(used, tenant, 40)
    rules = policy(("monthly_tokens", 60, True), key=key.hex)
    rules = type(rules)(key=key.hex, keys=(key,), limits=rules.limits)
    await desk.ask(rules, tokens=10)
    with pytest.raises(Rejected) as refused:
        await desk.ask(rules, tokens=1)
    assert refused.value.limit is not None
    assert refused.value.limit["scope"] == "key"


# --- The sweep


@pytest.fixture
def expired(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a request's hold be over. What other tests left behind is out of the sweep's sight."""
    release.scripts.cache_clear()
    sync_client.cache_clear()
    sync_client().delete(sweep.TENANTS)

    def expire(desk: Desk, *ids: str) -> None:
        sync_client().zadd(desk.keys.holds, dict.fromkeys(ids, 1))

    yield expire
    release.scripts.cache_clear()


async def test_what_nobody_knows_any_more_is_given_back_whole(desk: Desk, tenant: Any, expired: Any) -> None:
    rules = policy(("concurrent_requests", 1), ("monthly_calls", 100))
    admitted = await desk.ask(rules)
    expired(desk, admitted.request_id)
    assert await in_thread(sweep.sweep) == 1
    assert await in_thread(sweep.sweep) == 0
    assert await desk.month(MONTH) == [0, 0, 0, 0]
    await desk.ask(rules)


async def test_what_postgresql_knows_is_settled_by_its_record(desk: Desk, tenant: Any, expired: Any) -> None:
    rules = policy(("monthly_tokens", 1_000))
    admitted = await desk.ask(rules, tokens=500)
    await in_thread(used, tenant, 30, admitted.request_id)
    expired(desk, admitted.request_id)
    assert await in_thread(sweep.sweep) == 1
    assert await desk.month(MONTH) == [1, 30, 0, 0]


async def test_what_is_under_way_is_left_alone(desk: Desk, tenant: Any, expired: Any) -> None:
    queued, written = await desk.ask(policy()), await desk.ask(policy())
    keys = DeploymentKeys(str(route().deployment_id))
    await desk.client.hset(keys.requests, queued.request_id, b"ticket")
    entry = await desk.client.xadd(USAGE, {"r": b'{"request_id":"%s"}' % written.request_id.encode()})
    expired(desk, queued.request_id, written.request_id)
    try:
        assert await in_thread(sweep.sweep) == 0
        assert await desk.client.hlen(desk.keys.requests) == 2
        assert await desk.client.zcount(desk.keys.holds, "-inf", 1) == 0
    finally:
        await desk.client.delete(keys.requests)
        await desk.client.xdel(USAGE, entry)


async def test_tenants_are_noted_for_the_sweep_with_the_first_request(desk: Desk, tenant: Any) -> None:
    await desk.ask(policy())
    assert await desk.client.zscore(TENANTS, str(tenant.pk)) is not None
