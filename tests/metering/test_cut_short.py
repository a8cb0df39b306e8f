"""Requests that end before their end are recorded with what they used (F07 to F10), engine time included (L12)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from billing.models import UsageRecord
from core.scoping import platform_scope
from core.threads import in_thread
from core.valkey import sync_client
from inference import tasks
from inference.gateway import gateway
from inference.queue.keys import ENGINE_TOTALS, USAGE, WEBS, outbox
from inference.queue.wire import decode_usage
from inference.worker.engines.simulated import SimulatedEngine
from tenants.models import Tenant
from tests.billing.world import balances, fund, priced
from tests.inference.edge import BODY, Edge, events
from tests.waiting import until

STREAM = {**BODY, "stream": True}
WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}


@pytest.fixture(autouse=True)
def empty(stream: str) -> None:
    """Only this test's records."""


def records() -> list[dict[str, Any]]:
    return [decode_usage(fields[b"r"]) for _, fields in sync_client().xrange(USAGE)]  # type: ignore[misc]


async def leave_early(edge: Edge, body: dict[str, Any]) -> tuple[str, int]:
    """Read twenty pieces of a stream or a few more, and hang up. Returns its id and how many were read."""
    async with edge.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        got = 0
        async for piece in answer.aiter_text():
            got += piece.count('"content"')
            if got >= 20:
                break
        return answer.headers["x-request-id"], got


@pytest.mark.parametrize("body", [STREAM, WITH_USAGE], ids=["without usage", "with usage"])
async def test_f07_a_client_that_leaves_is_charged_for_what_was_made(
    edge: Edge, body: dict[str, Any]
) -> None:
    engine = SimulatedEngine({"tokens": 5_000, "tokens_per_s": 100})
    await edge.start_replica("rep-a", engine)
    request_id, got = await leave_early(edge, body)
    record = await edge.usage(request_id)
    assert (record["outcome"], record["stream"]) == ("cancelled", True)
    assert got <= record["completion_tokens"] + 1
    assert (
        record["completion_tokens"] == engine.counters().completion_tokens < 300
    )  # as many as were made: F08
    assert record["prompt_tokens"] == engine.counters().prompt_tokens > 0
    assert record["gpu_decode_ns"] > 0
    assert [one["request_id"] for one in records()] == [request_id]


@pytest.mark.slow
async def test_f08_a_client_that_left_pays_for_the_tokens_that_were_made_and_no_others(edge: Edge) -> None:
    """From the broken stream to the ledger: price times tokens, while the hold was for many more."""
    acme = edge.served.acme
    await in_thread(priced)(acme)
    await in_thread(fund)(acme, 10**9)
    engine = SimulatedEngine({"tokens": 5_000, "tokens_per_s": 100})
    await edge.start_replica("rep-a", engine)
    body = {**STREAM, "max_tokens": 5_000}
    request_id, _ = await leave_early(edge, body)
    await edge.usage(request_id)
    await in_thread(tasks.ingest_usage)()
    record, held = await in_thread(_settled)(acme, request_id)
    used = engine.counters()
    charge = used.prompt_tokens * 1_000 + used.completion_tokens * 2_000
    assert 0 < charge == record.charge_nano < record.hold_nano
    assert held["revenue"] == charge
    assert held["wallet"] + held["escrow"] == 10**9 - charge


def _settled(tenant: Tenant, request_id: str) -> tuple[UsageRecord, dict[str, int]]:
    with platform_scope("tests"):
        return UsageRecord.objects.get(request_id=request_id), balances(tenant)


async def test_f10_usage_is_recorded_whether_the_client_asks_for_it_or_not(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=24)
    async with edge.http() as http:
        for body in (STREAM, WITH_USAGE, BODY):
            answer = await http.post("/v1/chat/completions", json=body)
            record = await edge.usage(answer.headers["x-request-id"])
            assert (record["outcome"], record["completion_tokens"]) == ("completed", 24)
            assert record["prompt_tokens"] > 0
            if body is WITH_USAGE:
                assert events(answer.text)[-2]["usage"]["completion_tokens"] == 24
    assert len(records()) == 3


@pytest.mark.slow
async def test_f09_a_gateway_that_dies_takes_no_record_with_it(edge: Edge) -> None:
    """Killed while one request runs and another has just ended: the replica writes both records, once."""
    await edge.start_replica("rep-a", tokens=400, tokens_per_s=100)
    async with edge.http() as http:
        short = asyncio.create_task(http.post("/v1/chat/completions", json={**BODY, "max_tokens": 30}))
        long = asyncio.create_task(http.post("/v1/chat/completions", json={**BODY, "max_tokens": 400}))
        web = gateway()
        await until(lambda: [bool(stream.replica) for stream in web.streams.values()] == [True, True])
        ids = set(web.streams)
        for task in list(web._tasks):  # as SIGKILL does: nothing is read, said or written any more
            task.cancel()
        await edge.valkey.hdel(WEBS, web.web)
        await edge.valkey.delete(outbox(web.web))
        await until(lambda: {one["request_id"] for one in records()} == ids)
        short.cancel()
        long.cancel()
        await asyncio.gather(short, long, return_exceptions=True)
    found = records()
    assert sorted(one["request_id"] for one in found) == sorted(ids)
    assert all(one["completion_tokens"] > 0 and one["prompt_tokens"] > 0 for one in found)


@pytest.mark.slow
async def test_engine_time_of_all_requests_adds_up_and_the_totals_say_the_same(edge: Edge) -> None:
    """Whole answers, streams, and clients that leave: records, replica and engine agree (L12)."""
    engine = SimulatedEngine({"tokens": 50, "tokens_per_s": 200})
    replica = await edge.start_replica("rep-a", engine)

    async def leave(http: Any) -> None:
        async with http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
            async for _ in answer.aiter_text():
                break

    async with edge.http() as http:
        await asyncio.gather(
            *(http.post("/v1/chat/completions", json={**BODY, "n": n % 3 + 1}) for n in range(8)),
            *(http.post("/v1/chat/completions", json=STREAM) for _ in range(8)),
            *(leave(http) for _ in range(4)),
        )
    await until(lambda: len(records()) == 20 and not replica._jobs)
    found, counters = records(), engine.counters()
    assert len(found) == 20
    assert all(one["gpu_prefill_ns"] > 0 and one["gpu_decode_ns"] > 0 for one in found)
    assert sum(one["gpu_prefill_ns"] + one["gpu_decode_ns"] for one in found) == counters.busy_ns
    assert counters.attributed_ns == counters.busy_ns
    replica.stop()

    def engine_totals() -> dict[str, Any]:
        return json.loads(sync_client().hget(ENGINE_TOTALS, "rep-a") or "{}")  # type: ignore[arg-type]

    await until(lambda: engine_totals().get("ended_ms"))
    totals = engine_totals()
    assert totals["requests"] == 20
    assert totals["busy_ns"] == totals["attributed_ns"] == counters.busy_ns
    assert (
        totals["prompt_tokens"]
        == totals["engine_prompt_tokens"]
        == sum(one["prompt_tokens"] for one in found)
    )
    assert totals["completion_tokens"] == sum(one["completion_tokens"] for one in found)
    assert totals["mark"]
