"""The data plane's laws (design: L1 to L6), each with the guard that a change would have to take out."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asgiref.sync
import pytest
from django.core.handlers.asgi import ASGIHandler

from inference.gateway import gateway
from inference.queue.keys import outbox
from inference.worker.engines.simulated import SimulatedEngine
from inference.worker.port import EngineRequest
from tests.inference.edge import BODY, Edge, events, text_of
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
STREAM = {**BODY, "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.slow
async def test_l1_no_middleware_and_no_thread_hop_on_the_warm_path(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        await http.post("/v1/chat/completions", json=BODY)
        await asyncio.sleep(0.3)  # a process that has just begun to listen for changes trusts nothing older
        await http.post("/v1/chat/completions", json=BODY)  # fills the snapshot: the one thread hop

        async def forbidden(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError("Django's request cycle or a thread was entered")

        monkeypatch.setattr(ASGIHandler, "__call__", forbidden)
        monkeypatch.setattr(asgiref.sync.SyncToAsync, "__call__", forbidden)
        monkeypatch.setattr(asyncio, "to_thread", forbidden)
        for body in (BODY, STREAM):
            answer = await http.post("/t/acme/v1/chat/completions", json=body)
            assert answer.status_code == 200


@pytest.mark.slow
async def test_l2_tokens_of_one_step_share_one_message(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=64, tokens_per_s=200)
    await gateway().start()
    before = await edge.valkey.xinfo_stream(outbox(gateway().web))
    async with edge.http() as http:
        await asyncio.gather(*(http.post("/v1/chat/completions", json=STREAM) for _ in range(32)))
    after = await edge.valkey.xinfo_stream(outbox(gateway().web))
    messages = after["entries-added"] - before["entries-added"]
    assert 32 * 64 / messages > 8  # 2,048 tokens in far fewer messages; one per token would be 1


async def _resumed(edge: Edge, *, lost_at: int) -> tuple[list[Any], str, str]:
    """A stream whose replica is lost after `lost_at` chunks, and what it should have said."""
    await edge.start_replica("rep-1", tokens=80, tokens_per_s=100)
    async with edge.http() as http:
        expected = text_of(events((await http.post("/v1/chat/completions", json=STREAM)).text))
        raw, lost = "", False
        async with http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
            request_id = answer.headers["x-request-id"]
            async for piece in answer.aiter_text():
                raw += piece
                if not lost and raw.count("data: ") >= lost_at:
                    lost = True
                    await edge.lose_replica("rep-1")
                    await edge.start_replica("rep-2", tokens=80)
    return events(raw), expected, request_id


@pytest.mark.slow
@pytest.mark.parametrize("lost_at", [1, 2, 37])
async def test_l3_a_stream_goes_on_at_the_next_token_on_another_replica(edge: Edge, lost_at: int) -> None:
    found, expected, request_id = await _resumed(edge, lost_at=lost_at)
    assert found[-1] == "[DONE]"
    assert text_of(found) == expected
    assert [c["choices"][0]["delta"].get("role") for c in found[:-2]].count("assistant") == 1
    assert len({chunk["created"] for chunk in found[:-1]}) == 1
    assert found[-2]["usage"]["completion_tokens"] == 80
    record = await edge.usage(request_id)
    assert (record["outcome"], record["completion_tokens"], record["replica"]) == ("completed", 80, "rep-2")


@pytest.mark.slow
async def test_l3_without_another_replica_a_stream_ends_with_one_error(edge: Edge, settings: Any) -> None:
    settings.RESUME_TIMEOUT_S = 2.0
    await edge.start_replica("rep-1", tokens=80, tokens_per_s=50)
    async with edge.http() as http, http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        raw = ""
        async for piece in answer.aiter_text():
            if not raw:
                await edge.lose_replica("rep-1")
            raw += piece
        request_id = answer.headers["x-request-id"]
    found = events(raw)
    assert [chunk for chunk in found if chunk == "[DONE]" or "error" in chunk] == [found[-1]]
    assert found[-1]["error"]["code"] == "replica_lost"
    record = await edge.usage(request_id)
    assert record["outcome"] == "failed"
    assert record["completion_tokens"] > 0


@pytest.mark.slow
async def test_l3_a_stream_that_takes_too_long_to_catch_up_ends_with_one_error(
    edge: Edge, settings: Any
) -> None:
    """Another replica is there at once, and has not said anything new when the time is over."""
    settings.RESUME_TIMEOUT_S = 5.0
    await edge.start_replica("rep-1", tokens=400, tokens_per_s=100)
    async with edge.http() as http, http.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
        raw, lost = "", False
        async for piece in answer.aiter_text():
            raw += piece
            if not lost and raw.count("data: ") >= 100:
                lost = True
                await edge.lose_replica("rep-1")
                await edge.start_replica("rep-2", tokens=400, tokens_per_s=5)
                began = time.monotonic()
        assert time.monotonic() - began < 15  # it would take twenty to say again what it had said
    found = events(raw)
    assert [chunk for chunk in found if chunk == "[DONE]" or "error" in chunk] == [found[-1]]
    assert found[-1]["error"]["code"] == "replica_lost"


@pytest.mark.slow
async def test_l3_an_answer_in_one_piece_is_begun_again_however_long_it_had_taken(edge: Edge) -> None:
    await edge.start_replica("rep-1", tokens=80, tokens_per_s=2)
    body = {name: value for name, value in STREAM.items() if name not in ("stream", "stream_options")}
    async with edge.http() as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        while not any(stream.replica for stream in gateway().streams.values()):
            await asyncio.sleep(0.01)
        (stream,) = gateway().streams.values()
        stream.last_news_at -= 60
        await edge.lose_replica("rep-1")
        while stream.ticket.attempt == 0 and not asking.done():
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.2)  # the watcher looks twice a second
        await edge.start_replica("rep-2", tokens=80)
        answer = await asking
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 80


@pytest.mark.slow
async def test_l3_a_repeated_or_missing_message_changes_nothing(edge: Edge) -> None:
    """The way back is played twice, and once with a hole in it."""
    await edge.start_replica("rep-a", tokens=40, tokens_per_s=200)
    async with edge.http() as http:
        expected = text_of(events((await http.post("/v1/chat/completions", json=STREAM)).text))
        web = gateway()
        from inference.gateway.stream import Stream

        original, count = Stream.feed, 0

        def stutter(self: Stream, frame: Any) -> None:
            nonlocal count
            count += 1
            original(self, frame)
            original(self, frame)

        def hole(self: Stream, frame: Any) -> None:
            if frame.attempt == 0 and frame.seq == 12:
                return
            original(self, frame)

        for broken in (stutter, hole):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Stream, "feed", broken)
                answer = await http.post("/v1/chat/completions", json=STREAM)
            assert text_of(events(answer.text)) == expected
            assert events(answer.text)[-1] == "[DONE]"
        assert count
        assert not web.streams


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
async def test_l4_the_engine_stops_when_the_client_leaves(edge: Edge, stream: bool) -> None:
    engine = SimulatedEngine({"tokens": 5_000, "tokens_per_s": 100})
    await edge.start_replica("rep-a", engine)
    body = json.dumps({**BODY, "stream": stream, "max_tokens": 5_000}).encode()
    _reader, writer = await asyncio.open_connection("127.0.0.1", int(edge.base_url.rsplit(":", 1)[1]))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: "
        + str(len(body)).encode()
        + b"\r\nAuthorization: Bearer "
        + edge.served.secrets["acme"].encode()
        + b"\r\n\r\n"
        + body
    )
    await until(lambda: len(gateway().streams) == engine.counters().running == 1)
    (request_id,) = gateway().streams
    await until(lambda: engine.counters().completion_tokens > 20)
    writer.close()
    await until(lambda: engine.counters().running == 0)
    assert engine.counters().aborted == 1
    record = await edge.usage(request_id)
    assert record["outcome"] == "cancelled"
    assert 20 < record["completion_tokens"] < 5_000


@pytest.mark.slow
async def test_l5_salt_and_priority_are_the_platforms(edge: Edge) -> None:
    seen: list[EngineRequest] = []

    class Spy(SimulatedEngine):
        def run(self, request: EngineRequest) -> Any:
            seen.append(request)
            return super().run(request)

    await edge.start_replica("rep-a", Spy({"tokens": 1}))
    hostile = {**BODY, "cache_salt": "B" * 100, "priority": -1000}
    for slug in ("acme", "acme", "globex"):
        async with edge.http(slug) as http:
            await http.post("/v1/chat/completions", json=hostile, headers={"X-Tenant-Id": "globex"})
    salts = [request.salt for request in seen]
    assert salts[0] == salts[1] != salts[2]
    assert all("cache_salt" not in r.body and "priority" not in r.body for r in seen)
    assert str(edge.served.acme.pk) not in salts[0]


@pytest.mark.slow
def test_l6_the_web_process_loads_neither_vllm_nor_torch() -> None:
    code = (
        "import sys, config.asgi; print([m for m in ('vllm', 'torch', 'transformers') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "[]"
