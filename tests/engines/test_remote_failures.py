"""Everything that a server elsewhere does wrong, and the one clear error that a client gets for it."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from email.utils import format_datetime

import pytest

from core import clock
from inference.worker.engines.remote import RemoteEngine
from tests.engines.asking import PUBLIC_NAME, answer, chat, check_framing, error_of
from tests.engines.openai_server import Behaviour, OpenAIServer
from tests.engines.upstream import CREDENTIAL, LOOPBACK, STREAM, Connect, fails, piece, sse

# --- Server-sent events


@pytest.mark.slow
@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(write_bytes=1),
        Behaviour(write_bytes=7),
        Behaviour(newline=b"\r\n", comments=True),
        Behaviour(newline=b"\r", write_bytes=5),
        Behaviour(done=False),
        Behaviour(comments=True, done=False, usage=False),
    ],
    ids=lambda behaviour: str({name: value for name, value in vars(behaviour).items() if value})[:60],
)
async def test_a_stream_in_any_form_is_the_same_stream(
    engine: RemoteEngine, server: OpenAIServer, behaviour: Behaviour
) -> None:
    plain = await answer(engine, chat("Hello", n=2, **STREAM))
    server.behaviour = behaviour
    got = await answer(engine, chat("Hello", n=2, **STREAM))
    check_framing(got)
    assert got.texts == plain.texts
    assert got.reasons == plain.reasons
    assert got.usage["completion_tokens"] == plain.usage["completion_tokens"]


async def test_data_over_several_lines_is_one_chunk(engine: RemoteEngine, server: OpenAIServer) -> None:
    pretty = json.dumps(piece("Hi", "stop"), indent=2).encode().split(b"\n")
    server.behaviour.events = [b"".join(b"data: " + line + b"\n" for line in pretty) + b"\n", *sse(b"[DONE]")]
    assert (await answer(engine, chat("Hello", stream=True))).texts == {0: "Hi"}


async def test_a_missing_role_is_added_and_a_missing_end_is_told(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    server.behaviour.events = sse(
        {"choices": [], "prompt_filter_results": []}, piece("Hi"), piece(" there"), b"[DONE]"
    )
    got = await answer(engine, chat("Hello", **STREAM))
    check_framing(got)
    assert got.texts == {0: "Hi there"}
    assert got.reasons == {0: "stop"}


async def test_what_comes_after_the_end_of_a_choice_is_dropped(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    server.behaviour.events = sse(
        piece("Hi", "stop"), piece("more"), piece(finish="length"), b"[DONE]", piece("x")
    )
    got = await answer(engine, chat("Hello", **STREAM))
    check_framing(got)
    assert got.texts == {0: "Hi"}


async def test_tool_calls_pass_through(engine: RemoteEngine, server: OpenAIServer) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chunk = piece()
    chunk["choices"][0]["delta"] = {"role": "assistant", "tool_calls": [call]}
    server.behaviour.events = sse(chunk, piece(finish="tool_calls"), b"[DONE]")
    got = await answer(engine, chat("Hello", **STREAM))
    assert got.choices[0]["delta"]["tool_calls"] == [call]
    assert got.reasons == {0: "tool_calls"}
    assert got.usage["completion_tokens"] == 1


@pytest.mark.parametrize(
    "events",
    [
        sse(b"{not json"),
        sse(b"[]"),
        sse(b"7"),
        sse({"hello": "world"}),
        sse({"choices": [7]}),
        sse({"choices": [{"index": 5, "delta": {}}]}),
        sse({"choices": [{"index": -1, "delta": {}}]}),
        sse({"choices": [{"index": "0", "delta": {}}]}),
        sse({"choices": [{"index": 0, "delta": "text"}]}),
        [b"data: " + b"[" * 50_000 + b"\n\n"],
        [b"data: " + b"x" * 70_000],
        [b"data: " + b"x" * 60_000 + b"\n"] * 3,
    ],
    ids=range(12),
)
async def test_what_is_not_a_stream_of_chunks_ends_with_one_error(
    connect: Connect, server: OpenAIServer, events: list[bytes]
) -> None:
    engine = await connect(max_event_bytes=64 * 1024)
    server.behaviour.events = [*sse(piece("Hi")), *events]
    got = await answer(engine, chat("Hello", **STREAM))
    assert got.texts == {0: "Hi"}
    fails(got, 502, "upstream_malformed")
    await asyncio.wait_for(server.wait_until_quiet(), 1)


async def test_a_stream_that_breaks_off_never_looks_whole(engine: RemoteEngine, server: OpenAIServer) -> None:
    server.behaviour.cut_after = 9
    got = await answer(engine, chat("Hello", **STREAM))
    assert len(got.chunks) == 9
    fails(got, 502, "upstream_cut")
    assert got.request.meter.completion_tokens == 8
    server.behaviour = Behaviour(events=sse(piece("Hi")))  # ends in good order, but nothing has an end
    fails(await answer(engine, chat("Hello", **STREAM)), 502, "upstream_cut")
    server.behaviour = Behaviour(events=[])
    fails(await answer(engine, chat("Hello", **STREAM)), 502, "upstream_cut")
    server.behaviour = Behaviour(events=sse(b"[DONE]"))
    fails(await answer(engine, chat("Hello", **STREAM)), 502, "upstream_cut")


async def test_an_error_inside_a_stream_ends_it(engine: RemoteEngine, server: OpenAIServer) -> None:
    error = {"message": f"{CREDENTIAL} exploded at {server.base_url}", "type": "x", "code": 500}
    for event in ({"error": error}, {"object": "error", **error}, {"error": "exploded"}):
        server.behaviour.events = sse(piece("Hi"), event)
        got = await answer(engine, chat("Hello", **STREAM))
        assert got.texts == {0: "Hi"}
        fails(got, 502, "upstream_error")
        assert "exploded" not in str(got.failure)
    server.behaviour.events = sse(piece("Hi"), {"error": {"message": "too long", "code": 400}})
    fails(await answer(engine, chat("Hello", **STREAM)), 400, "upstream_rejected")


# --- Failures


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (400, 400, "upstream_rejected"),
        (401, 502, "upstream_refused"),
        (402, 502, "upstream_refused"),
        (403, 502, "upstream_refused"),
        (404, 502, "upstream_not_found"),
        (408, 504, "upstream_timeout"),
        (409, 502, "upstream_error"),
        (413, 413, "upstream_rejected"),
        (422, 400, "upstream_rejected"),
        (429, 503, "upstream_busy"),
        (500, 502, "upstream_error"),
        (503, 502, "upstream_error"),
        (504, 504, "upstream_timeout"),
        (529, 502, "upstream_error"),
        (204, 502, "upstream_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_server_are_told_as_ours(
    engine: RemoteEngine, server: OpenAIServer, status: int, told: int, code: str, stream: bool
) -> None:
    where = f"{server.base_url}/x (127.0.0.1:{server.port})"
    said = f"Key {CREDENTIAL} of org-acme12345 at {where} for upstream/model: no\x00\u202egood"
    server.behaviour = Behaviour(
        status=status, body=json.dumps({"error": {"message": said, "code": None}}).encode()
    )
    got = await answer(engine, chat("Hello", stream=stream))
    fails(got, told, code)
    assert got.failure is not None
    payload = got.failure.payload.decode()
    for secret in (CREDENTIAL, "4711", "org-acme", "127.0.0.1", str(server.port), "upstream/model"):
        assert secret not in payload
    for control in ("\\u202e", "\u202e", "\\u0000"):
        assert control not in payload
    message = error_of(got.failure)["message"]
    assert (PUBLIC_NAME in message) == (told in (400, 413))
    assert got.request.meter.completion_tokens == 0


async def test_the_words_of_the_server_are_bounded(engine: RemoteEngine, server: OpenAIServer) -> None:
    for body in (
        json.dumps({"error": {"message": "word " * 5000, "code": "x" * 500, "param": "p\n"}}).encode(),
        b"x" * 1_000_000,
        b"\xff\xfe",
        b"[" * 50_000,
        b"",
        json.dumps({"error": "short"}).encode(),
        json.dumps({"object": "error", "message": "flat", "type": "t"}).encode(),
    ):
        server.behaviour = Behaviour(status=400, body=body)
        got = await answer(engine, chat("Hello"))
        fails(got, 400, "upstream_rejected")
        assert len(error_of(got.failure)["message"]) <= 300


async def test_the_code_and_the_parameter_of_a_refusal_are_told(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    error = {"message": "Too long.", "code": "context_length_exceeded", "param": "messages[0].content"}
    server.behaviour = Behaviour(status=400, body=json.dumps({"error": error}).encode())
    told = error_of((await answer(engine, chat("Hello"))).failure)
    assert {name: told[name] for name in error} == error


async def test_a_busy_server_says_when_to_come_again(engine: RemoteEngine, server: OpenAIServer) -> None:
    soon = format_datetime(clock.now() + timedelta(seconds=40), usegmt=True)
    cases = [("7", 7, 7), ("0.5", 0.5, 0.5), (soon, 35, 41), ("soon", 1, 1), ("-3", 0, 0), ("nan", 1, 1)]
    for header, low, high in [*cases, ("9e9", 3600, 3600)]:
        server.behaviour = Behaviour(status=429, body=b"{}", headers={"Retry-After": header})
        error = error_of((await answer(engine, chat("Hello"))).failure)
        assert low <= error["retry_after"] <= high


async def test_redirects_are_not_followed(engine: RemoteEngine, server: OpenAIServer) -> None:
    before = len(server.received)
    server.behaviour = Behaviour(status=307, body=b"", headers={"Location": f"{server.base_url}/models"})
    fails(await answer(engine, chat("Hello")), 502, "upstream_redirect")
    assert len(server.received) == before + 1


async def test_packed_answers_are_refused(engine: RemoteEngine, server: OpenAIServer) -> None:
    for stream in (False, True):
        server.behaviour = Behaviour(body=b"{}", headers={"Content-Encoding": "gzip"})
        fails(await answer(engine, chat("Hello", stream=stream)), 502, "upstream_malformed")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"choices": []}', b'{"choices": [{"message": 1}]}', b"<html>", b'{"choices": 1}'],
)
async def test_a_whole_answer_that_is_none_is_malformed(
    engine: RemoteEngine, server: OpenAIServer, body: bytes
) -> None:
    server.behaviour.body = body
    fails(await answer(engine, chat("Hello")), 502, "upstream_malformed")


async def test_an_answer_that_is_too_large_is_given_up(connect: Connect, server: OpenAIServer) -> None:
    engine = await connect(max_response_bytes=10_000)
    server.behaviour.body = b" " * 20_000
    fails(await answer(engine, chat("Hello")), 502, "upstream_malformed")
    await asyncio.wait_for(server.wait_until_quiet(), 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_is_given_up(connect: Connect, server: OpenAIServer, stream: bool) -> None:
    engine = await connect(idle_timeout_s=0.1, timeout_s=0.3)
    server.behaviour.silent = True
    began = time.monotonic()
    fails(await answer(engine, chat("Hello", stream=stream)), 504, "upstream_timeout")
    assert time.monotonic() - began < 1
    assert len(server.received) == 2, "the start, and the request once"
    await asyncio.wait_for(server.wait_until_quiet(), 1)
    assert server.engine.counters().running == 0


async def test_a_stream_that_falls_silent_is_given_up(connect: Connect, server: OpenAIServer) -> None:
    engine = await connect(idle_timeout_s=0.1)
    server.behaviour.hang_after = 5
    began = time.monotonic()
    got = await answer(engine, chat("Hello", **STREAM))
    assert time.monotonic() - began < 2
    assert len(got.chunks) == 5
    fails(got, 504, "upstream_timeout")


async def test_a_stream_that_only_pings_is_given_up_in_the_end(connect: Connect) -> None:
    async def ping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while not writer.is_closing():
            writer.write(b": ping\n\n")
            await asyncio.sleep(0.02)
        writer.close()

    pinging = await asyncio.start_server(ping, "127.0.0.1", 0)
    async with pinging:
        port = pinging.sockets[0].getsockname()[1]
        args = {"idle_timeout_s": 5, "timeout_s": 0.2}
        engine = RemoteEngine(f"http://127.0.0.1:{port}", "m", "", args, networks=LOOPBACK)
        await engine.start()
        fails(await answer(engine, chat("Hello", **STREAM)), 504, "upstream_timeout")
        await engine.close()
        await asyncio.sleep(0.1)  # until the server has seen it
