"""Sharing with real replicas on the simulated engine: order, express requests, charges, deadlines. Counts, no times."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inference.gateway import gateway
from inference.gateway.errors import retry_after_s
from inference.queue.keys import DeploymentKeys
from inference.worker.engines.simulated import SimulatedEngine
from inference.worker.port import EngineRequest
from tests.inference.edge import BODY, Edge, events
from tests.waiting import until

STREAM = {**BODY, "stream": True}


class Watched(SimulatedEngine):
    """Remembers in which order requests were begun, and how many ran at most."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(arguments)
        self.begun: list[EngineRequest] = []
        self.most = 0

    def run(self, request: EngineRequest) -> Any:
        self.begun.append(request)
        return super().run(request)

    def _begin(self, work: Any) -> None:
        super()._begin(work)
        self.most = max(self.most, len(self._running))


async def waits(edge: Edge, requests: int) -> None:
    """Until so many requests are in Valkey."""
    keys = DeploymentKeys(str(edge.served.deployment.pk))

    async def are_there() -> bool:
        return await edge.valkey.hlen(keys.requests) == requests

    await until(are_there)


@pytest.mark.slow
async def test_l9_a_quiet_tenants_request_begins_at_once_beside_a_flood(edge: Edge) -> None:
    engine = Watched(tokens=5_000, tokens_per_s=50, capacity=8)
    await edge.start_replica("rep-a", engine)
    long = {**STREAM, "max_tokens": 5_000}
    async with edge.http("acme") as loud, edge.http("globex") as quiet:
        flood = [asyncio.create_task(loud.post("/v1/chat/completions", json=long)) for _ in range(40)]
        await waits(edge, 40)
        await until(lambda: len(engine.begun) == 8)
        for turn in range(1, 4):
            answer = await quiet.post("/v1/chat/completions", json={**BODY, "max_tokens": 1})
            assert answer.status_code == 200
            assert len(engine.begun) == 8 + turn, "not one of the flood's was begun meanwhile"
        assert engine.most == 9
        assert engine.begun[-1].express  # the flood fills all slots
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


@pytest.mark.slow
async def test_tenants_take_turns_by_what_they_were_served(edge: Edge) -> None:
    engine = Watched(tokens=64, capacity=1)
    engine.express = 0
    async with edge.http("acme") as loud, edge.http("globex") as quiet:
        calls = [
            asyncio.create_task(loud.post("/v1/chat/completions", json={**BODY, "max_tokens": 30}))
            for _ in range(8)
        ]
        await waits(edge, 8)
        calls += [
            asyncio.create_task(quiet.post("/v1/chat/completions", json={**BODY, "max_tokens": 10}))
            for _ in range(8)
        ]
        await waits(edge, 16)
        await edge.start_replica("rep-a", engine)
        answers = await asyncio.gather(*calls)
    assert all(answer.status_code == 200 for answer in answers)
    lengths = [request.body["max_tokens"] for request in engine.begun]
    assert lengths[:8].count(10) >= 5, "about two or three short ones for each long one"
    assert lengths.count(30) == lengths.count(10) == 8


@pytest.mark.slow
async def test_answers_are_charged_while_they_come_out(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=2_000, tokens_per_s=100)
    keys = DeploymentKeys(str(edge.served.deployment.pk))

    async def counter() -> float:
        text = await edge.valkey.hget(keys.accounts, str(edge.served.acme.pk))
        return float(text.split()[0]) if text else 0.0

    for stream in (True, False):
        async with edge.http() as http:
            before = await counter()
            body = {**BODY, "stream": stream, "max_tokens": 2_000}
            call = asyncio.create_task(http.post("/v1/chat/completions", json=body))

            async def is_charged(before: float = before) -> bool:
                return await counter() > before + 20

            await until(is_charged)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await waits(edge, 0)


async def test_what_was_used_in_the_end_is_what_was_charged(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=40)
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=BODY)
    usage = answer.json()["usage"]
    await waits(edge, 0)
    keys = DeploymentKeys(str(edge.served.deployment.pk))
    text = await edge.valkey.hget(keys.accounts, str(edge.served.acme.pk))
    assert float(text.split()[0]) == usage["prompt_tokens"] + 2 * usage["completion_tokens"]


@pytest.mark.slow
async def test_a_deadline_that_passes_in_the_queue_is_a_clear_error_with_a_record(edge: Edge) -> None:
    headers = {"X-Atrium-Deadline-Ms": "300"}
    engine = Watched(tokens=10)
    async with edge.http() as http:
        call = asyncio.create_task(http.post("/v1/chat/completions", json=BODY, headers=headers))
        await waits(edge, 1)
        (stream,) = gateway().streams.values()
        stream.ticket.deadline_ms += 60_000  # the gateway looks away: it is the replica that drops it
        await asyncio.sleep(0.4)
        await edge.start_replica("rep-a", engine)
        answer = await call
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert not engine.begun
    record = await edge.usage(answer.headers["x-request-id"])
    assert (record["outcome"], record["error_code"], record["completion_tokens"]) == (
        "failed", "deadline_exceeded", 0,
    )  # fmt: skip


@pytest.mark.slow
async def test_a_deadline_ends_the_wait_where_no_replica_is(edge: Edge) -> None:
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=BODY, headers={"X-Atrium-Deadline-Ms": "100"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    record = await edge.usage(answer.headers["x-request-id"])
    assert (record["outcome"], record["error_code"]) == ("failed", "deadline_exceeded")
    await waits(edge, 0)


@pytest.mark.slow
async def test_a_deadline_ends_an_answer_that_takes_too_long(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=5_000, tokens_per_s=50)
    async with edge.http() as http:
        answer = await http.post(
            "/v1/chat/completions",
            json={**STREAM, "max_tokens": 5_000},
            headers={"X-Atrium-Deadline-Ms": "400"},
        )
    assert events(answer.text)[-1]["error"]["code"] == "timeout"


async def test_a_deadline_that_is_no_number_is_refused(edge: Edge) -> None:
    async with edge.http() as http:
        for value in ("0", "-5", "1e3", "soon", "9" * 13):
            answer = await http.post(
                "/v1/chat/completions", json=BODY, headers={"X-Atrium-Deadline-Ms": value}
            )
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == "x-atrium-deadline-ms"


async def test_a_full_queue_says_when_to_come_back(edge: Edge, settings: Any) -> None:
    settings.QUEUE_LIMIT_PER_TENANT = 2
    async with edge.http() as http:
        calls = [asyncio.create_task(http.post("/v1/chat/completions", json=BODY)) for _ in range(2)]
        await waits(edge, 2)
        refused = await http.post("/v1/chat/completions", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        await edge.start_replica("rep-a", tokens=1)
        assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200, 200]


def test_the_time_to_come_back_follows_from_the_expected_wait() -> None:
    assert [retry_after_s(ms) for ms in (-1, 0, 8_000, 40_000, 10_000_000)] == [2.0, 1.0, 2.0, 10.0, 60.0]
