"""What is particular to a server elsewhere: what it is told, what counts, how it is reached."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from contextlib import aclosing
from typing import Any

import pytest

from inference.worker.engines.remote import RemoteEngine
from inference.worker.port import EngineDead
from tests.engines.asking import PUBLIC_NAME, answer, ask, chat, check_framing
from tests.engines.openai_server import Behaviour, OpenAIServer
from tests.engines.upstream import CREDENTIAL, LOOPBACK, STREAM, Connect, fails, piece, sse
from tests.waiting import until

# --- What the server is told


async def test_the_server_sees_its_own_name_and_the_credential(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    await answer(engine, chat("Hello"))
    received = server.received[-1]
    assert received.path == "/v1/chat/completions"
    assert received.headers["authorization"] == f"Bearer {CREDENTIAL}"
    assert received.headers["accept-encoding"] == "identity"
    assert received.body["model"] == server.model
    assert PUBLIC_NAME not in json.dumps(received.body)


async def test_the_client_sees_nothing_of_the_server(engine: RemoteEngine, server: OpenAIServer) -> None:
    server.behaviour.events = sse(
        piece("Hi", system_fingerprint="fp_theirs", provider="Their GmbH", x_groq={"id": "req_1"}),
        piece(finish="stop"),
        b"[DONE]",
    )
    got = await answer(engine, chat("Hello", stream=True))
    seen = json.dumps(got.chunks)
    for word in ("theirs", "upstream", "Their", "x_groq"):
        assert word not in seen
    assert got.chunks[0]["model"] == PUBLIC_NAME
    assert got.chunks[0]["id"] == f"chatcmpl-{got.request.id}"


async def test_fields_that_are_not_for_the_server_are_never_sent(
    connect: Connect, server: OpenAIServer
) -> None:
    private = {
        "cache_salt": "salt", "priority": 1, "user": "dana@acme.example", "metadata": {"a": "b"},
        "request_id": "x", "store": True, "service_tier": "flex",
    }  # fmt: skip
    body = {**private, "top_k": 5, "repetition_penalty": 1.1, "seed": 3, "unheard_of": 1, "top_p": None}
    for args in ({}, {"dialect": "vllm", "extra_fields": "unheard_of, cache_salt"}):
        await answer(await connect(**args), chat("Hello", **body))
    plain, family = (set(received.body) for received in server.received if received.body)
    assert plain == {"model", "messages", "temperature", "max_tokens", "seed", "stream"}
    assert family == plain | {"top_k", "repetition_penalty", "unheard_of"}
    assert "salt-of-acme" not in json.dumps([received.body for received in server.received])


@pytest.mark.parametrize("given", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("known", ["max_tokens", "max_completion_tokens"])
async def test_the_bound_on_tokens_is_sent_under_the_name_that_the_server_knows(
    connect: Connect, server: OpenAIServer, given: str, known: str
) -> None:
    engine = await connect(limit_field=known)
    got = await answer(engine, chat("Hello", **{"max_tokens": None, given: 3}))
    assert got.usage["completion_tokens"] == 3
    assert {name for name in server.received[-1].body if name.startswith("max")} == {known}
    await answer(engine, ask("completion", prompt="Hello"))
    assert server.received[-1].body["max_tokens"] == 24


async def test_usage_is_always_asked_for_and_given_only_to_who_asked(
    connect: Connect, server: OpenAIServer
) -> None:
    engine = await connect()
    quiet = await answer(engine, chat("Hello", stream=True))
    assert server.received[-1].body["stream_options"] == {"include_usage": True}
    check_framing(quiet)
    assert not any("usage" in chunk for chunk in quiet.chunks)
    assert quiet.request.meter.completion_tokens == 24
    asked = await answer(engine, chat("Hello", **STREAM))
    check_framing(asked)
    assert asked.usage["completion_tokens"] == 24
    await answer(await connect(ask_usage=False), chat("Hello", **STREAM))
    assert "stream_options" not in server.received[-1].body


# --- Counting


async def test_without_usage_the_chunks_are_counted_and_the_count_is_marked(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    server.behaviour.usage = False
    got = await answer(engine, chat("three little words", **STREAM))
    assert got.request.meter.completion_tokens == 24
    assert got.request.meter.prompt_tokens == 3
    assert got.chunks[-1]["usage"]["estimated"] is True
    assert engine.estimated == 1
    whole = await answer(engine, chat("three little words"))
    assert whole.whole is not None
    assert whole.whole["usage"]["estimated"] is True
    assert 0 < whole.request.meter.completion_tokens <= 24
    assert engine.estimated == 2
    server.behaviour.usage = True
    got = await answer(engine, chat("three little words", **STREAM))
    assert "estimated" not in got.chunks[-1]["usage"]
    assert engine.estimated == 2


async def test_usage_that_makes_no_sense_counts_as_none(engine: RemoteEngine, server: OpenAIServer) -> None:
    for usage in (
        {"prompt_tokens": -5, "completion_tokens": 1},
        {"prompt_tokens": 1e300},
        "many",
        [],
        {"a": 1},
    ):
        server.behaviour.events = sse(
            piece("a"), piece("b", "stop"), piece(usage=usage, choices=[]), b"[DONE]"
        )
        got = await answer(engine, chat("Hello", **STREAM))
        assert got.usage == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        assert got.chunks[-1]["usage"]["estimated"] is True


async def test_cached_and_reasoning_tokens_are_carried_over(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    usage = {
        "prompt_tokens": 50,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 32, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4},
        "cost": 0.002,
    }
    server.behaviour.events = sse(piece("a", "stop"), piece(usage=usage, choices=[]), b"[DONE]")
    got = await answer(engine, chat("Hello", **STREAM))
    assert got.request.meter.cached_tokens == 32
    assert got.chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}
    assert got.chunks[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
    assert "cost" not in got.chunks[-1]["usage"]


async def test_usage_on_the_last_chunk_of_content_is_usage_too(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}
    server.behaviour.events = sse(piece("a"), piece("b", "stop", usage=usage), b"[DONE]")
    got = await answer(engine, chat("Hello", **STREAM))
    assert got.usage == usage
    assert got.request.meter.completion_tokens == 9
    check_framing(got)


async def test_leaving_early_is_metered_exactly_where_the_server_counts_along(
    connect: Connect, server: OpenAIServer
) -> None:
    server.behaviour.usage_on_every_chunk = True
    engine = await connect(dialect="vllm")
    request = chat("Hello", n=2, max_tokens=200, **STREAM)
    async with aclosing(engine.run(request)) as events:  # type: ignore[type-var]
        seen = 0
        async for _ in events:
            seen += 1
            if seen == 22:  # two roles, ten tokens of each choice
                break
    assert request.meter.completion_tokens == 20
    assert request.meter.prompt_tokens > 5


# --- Connections


async def test_connections_are_used_again(engine: RemoteEngine, server: OpenAIServer) -> None:
    await answer(engine, chat("Hello"))
    before = server.connections
    for number in range(6):
        await answer(engine, chat("Hello", **(STREAM if number % 2 else {})))
    assert server.connections == before


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    await answer(engine, chat("Hello"))
    await server.hang_up()
    before = len(server.received)
    check_framing(await answer(engine, chat("Hello", **STREAM)))
    assert len(server.received) == before + 1


@pytest.mark.slow
async def test_no_way_of_ending_keeps_a_connection(connect: Connect, server: OpenAIServer) -> None:
    """With one connection in all, each request finds it free again, whatever became of the one before."""
    engine = await connect(max_connections=1, connect_timeout_s=0.5, idle_timeout_s=0.1, timeout_s=0.3)
    for behaviour in (
        Behaviour(drop_connections=2),
        Behaviour(cut_after=3),
        Behaviour(hang_after=3),
        Behaviour(silent=True),
        Behaviour(status=500, body=b"{}"),
        Behaviour(status=200, body=b"nothing"),
        Behaviour(events=[b"data: {nothing\n\n"]),
    ):
        server.behaviour = behaviour
        assert (await answer(engine, chat("Hello", **STREAM))).failure is not None
        reader = asyncio.create_task(answer(engine, chat("Hello", **STREAM)))
        await asyncio.sleep(0.02)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    server.behaviour = Behaviour()
    got = await asyncio.gather(*(answer(engine, chat("Hello", **STREAM)) for _ in range(4)))
    for one in got:
        check_framing(one)
    assert server.open_connections == 1


async def test_a_connection_that_broke_before_the_first_byte_is_tried_once_more(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    server.behaviour.drop_connections = 1
    got = await answer(engine, chat("Hello", **STREAM))
    check_framing(got)
    before = len(server.received)
    server.behaviour.drop_connections = 9
    fails(await answer(engine, chat("Hello", **STREAM)), 502, "upstream_unreachable")
    assert len(server.received) == before + 2


async def test_nothing_is_tried_again_after_the_first_byte(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    for behaviour in (
        Behaviour(cut_after=1),
        Behaviour(status=500, body=b"{}"),
        Behaviour(status=503, body=b"{}"),
    ):
        before = len(server.received)
        server.behaviour = behaviour
        assert (await answer(engine, chat("Hello", **STREAM))).failure is not None
        assert len(server.received) == before + 1


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_closes_the_connection_at_once(
    connect: Connect, stream: bool, server: OpenAIServer
) -> None:
    engine = await connect()
    server.behaviour.hang_after = 3
    server.behaviour.silent = not stream
    reader = asyncio.create_task(answer(engine, chat("Hello", stream=stream)))
    await until(lambda: server.open_connections == 1 and len(server.received) == 2)
    await asyncio.sleep(0.05)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await asyncio.wait_for(server.wait_until_quiet(), 0.5)
    assert engine.counters().running == 0
    assert engine.counters().aborted == 1
    assert server.engine.counters().running == 0


async def test_requests_beyond_its_connections_fail_in_time(connect: Connect, server: OpenAIServer) -> None:
    engine = await connect(max_connections=1, connect_timeout_s=0.1)
    server.behaviour.hang_after = 3
    holder = asyncio.create_task(answer(engine, chat("Hello", **STREAM)))
    await until(lambda: len(server.received) == 2)
    fails(await answer(engine, chat("Hello", **STREAM)), 504, "upstream_timeout")
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)


# --- Embeddings


async def test_embeddings_come_in_the_encoding_that_was_asked_for(
    engine: RemoteEngine, server: OpenAIServer
) -> None:
    """Some servers know one encoding only."""
    numbers = [0.5, -0.25]
    packed = base64.b64encode(array("f", numbers).tobytes()).decode()
    for asked, expected in (("float", numbers), (None, numbers), ("base64", packed)):
        for sent in (numbers, packed):
            data = [{"index": 1, "embedding": sent}, {"index": 0, "embedding": sent}]
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            server.behaviour.body = json.dumps({"data": data, "model": "theirs", "usage": usage}).encode()
            got = await answer(engine, ask("embedding", input=["a", "b"], encoding_format=asked))
            assert got.whole is not None
            assert [entry["embedding"] for entry in got.whole["data"]] == [expected, expected]
            assert got.whole["model"] == PUBLIC_NAME
            assert got.request.meter.prompt_tokens == 4


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        [7],
        [{"index": 0}],
        [{"index": 0, "embedding": ["x"]}],
        [{"index": 0, "embedding": "!!"}],
        [{"index": 0, "embedding": "AAA="}],
        [{"index": 3, "embedding": [1]}],
        [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}],
    ],
)
async def test_embeddings_that_are_none_are_malformed(
    engine: RemoteEngine, server: OpenAIServer, data: Any
) -> None:
    server.behaviour.body = json.dumps({"data": data}).encode()
    fails(await answer(engine, ask("embedding", input="a")), 502, "upstream_malformed")


async def test_a_server_without_embeddings_is_not_asked(connect: Connect, server: OpenAIServer) -> None:
    engine = await connect(supports_embeddings=False)
    before = len(server.received)
    fails(await answer(engine, ask("embedding", input="a")), 400, "unsupported_operation")
    assert len(server.received) == before


# --- Starting, health, ending


async def test_it_starts_only_in_front_of_a_server_that_takes_the_credential(server: OpenAIServer) -> None:
    engine = RemoteEngine(server.base_url, server.model, "sk-wrong", {}, networks=LOOPBACK)
    with pytest.raises(RuntimeError, match="refuses the credential"):
        await engine.start()
    engine = RemoteEngine("http://127.0.0.1:1/v1", "m", "", {}, networks=LOOPBACK)
    with pytest.raises(RuntimeError, match="cannot be reached"):
        await engine.start()


async def test_a_server_without_a_list_of_models_is_taken_at_its_word(server: OpenAIServer) -> None:
    server.behaviour = Behaviour(status=404, body=b"{}")
    engine = RemoteEngine(server.base_url, server.model, CREDENTIAL, {}, networks=LOOPBACK)
    await engine.start()
    await engine.close()


async def test_a_private_network_must_be_allowed(server: OpenAIServer) -> None:
    engine = RemoteEngine(server.base_url, server.model, CREDENTIAL, {}, networks=["10.0.0.0/8"])
    with pytest.raises(RuntimeError, match="ATRIUM_REMOTE_ENGINE_NETWORKS"):
        await engine.start()
    assert server.connections == 0


async def test_an_address_that_has_become_forbidden_fails_the_request(
    connect: Connect, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await connect()
    server.behaviour = Behaviour(status=500, body=b"{}", headers={"Connection": "close"})
    await answer(engine, chat("Hello"))  # the pooled connection is gone now
    monkeypatch.setattr("inference.worker.engines.transport.is_allowed", lambda *_, **__: False)
    fails(await answer(engine, chat("Hello")), 502, "upstream_address_refused")


async def test_it_is_dead_after_three_misses_and_alive_with_the_next_answer(
    connect: Connect, server: OpenAIServer
) -> None:
    engine = await connect(health_interval_s=0.001, connect_timeout_s=0.05)
    server.behaviour.silent = True
    for _ in range(2):
        await asyncio.sleep(0.002)
        await engine.check_health()
    await asyncio.sleep(0.002)
    with pytest.raises(EngineDead):
        await engine.check_health()
    server.behaviour.silent = False
    await answer(engine, chat("Hello"))
    await engine.check_health()


async def test_health_does_not_ask_more_often_than_it_may(connect: Connect, server: OpenAIServer) -> None:
    engine = await connect(health_interval_s=60)
    before = len(server.received)
    for _ in range(20):
        await engine.check_health()
    assert len(server.received) == before


async def test_closing_ends_what_runs(connect: Connect, server: OpenAIServer) -> None:
    engine = await connect()
    server.behaviour.hang_after = 2
    reader = asyncio.create_task(answer(engine, chat("Hello", **STREAM)))
    await until(lambda: engine.counters().running == 1 and len(server.received) == 2)
    await asyncio.sleep(0.05)
    await engine.close()
    with pytest.raises(EngineDead):
        await reader
    with pytest.raises(EngineDead):
        await answer(engine, chat("Hello"))
    with pytest.raises(EngineDead):
        await engine.check_health()
    await engine.close()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("ftp://host/v1", "m", "", {}), "http"),
        (("not a url", "m", "", {}), "address"),
        (("https://user:pass@host/v1", "m", "", {}), "user name"),
        (("https://host/v1?x=1", "m", "", {}), "query"),
        (("https://host/v1", "", "", {}), "name"),
        (("https://host/v1", "m", "sk-a\r\nX-Evil: 1", {}), "characters"),
        (("https://host/v1", "m", "sk-ä", {}), "characters"),
        (("https://host/v1", "m", "", {"timeout_s": 0}), "timeout_s"),
        (("https://host/v1", "m", "", {"unknown": 1}), "unknown"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(arguments: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        RemoteEngine(*arguments)
    assert "sk-" not in str(raised.value)


async def test_the_credential_shows_nowhere(engine: RemoteEngine, capsys: pytest.CaptureFixture[str]) -> None:
    await answer(engine, chat("Hello"))
    assert CREDENTIAL not in repr(engine)
    captured = capsys.readouterr()
    assert CREDENTIAL not in captured.out + captured.err
