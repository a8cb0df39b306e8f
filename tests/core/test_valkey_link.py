"""The shared link to Valkey: answers reach who asked, whatever happens to the others or to the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
import redis
from redis.exceptions import DataError, NoScriptError, RedisError, ResponseError

from core import valkey_link
from core.valkey import async_client
from core.valkey_link import LinkedClient, pack

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def client() -> AsyncIterator[LinkedClient]:
    made = async_client()
    yield made
    await made.aclose()


@pytest.fixture
def name() -> str:
    return f"test:link:{uuid4().hex}"


async def test_a_thousand_callers_each_get_their_own_answer(client: LinkedClient) -> None:
    answers = await asyncio.gather(*(client.echo(f"{number}") for number in range(1_000)))
    assert answers == [b"%d" % number for number in range(1_000)]
    clients = await client.client_list()
    assert sum(each["cmd"].startswith("client|list") for each in clients) == 1


async def test_all_callers_share_one_connection_from_the_first_call_on(
    client: LinkedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    real = LinkedClient._new

    async def counted(self: LinkedClient) -> Any:
        nonlocal opened
        opened += 1
        return await real(self)

    monkeypatch.setattr(LinkedClient, "_new", counted)
    await asyncio.gather(*(client.ping() for _ in range(50)))
    await client.ping()
    assert opened == 1


async def test_a_caller_that_is_cancelled_takes_nobody_elses_answer(client: LinkedClient) -> None:
    await client.ping()
    calls = [asyncio.ensure_future(client.echo(f"{number}")) for number in range(100)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[1::2] == [b"%d" % number for number in range(1, 100, 2)]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert await client.echo("after") == b"after"


async def test_commands_answer_as_the_library_has_them(client: LinkedClient, name: str) -> None:
    assert await client.hset(name, mapping={"a": 1, "b": 2.5}) == 2
    assert await client.hgetall(name) == {b"a": b"1", b"b": b"2.5"}
    assert await client.zadd(name + "z", {"x": 1.5}) == 1
    assert await client.zrange(name + "z", 0, -1, withscores=True) == [(b"x", 1.5)]
    assert await client.get(name + "none") is None
    assert await client.set(name + "s", "v", ex=60) is True
    seconds, _ = await client.time()
    assert seconds > 1_700_000_000
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await client.get(name)
    with pytest.raises(NoScriptError):
        await client.evalsha("0" * 40, 0)
    with pytest.raises(DataError):
        await client.set(name, object())  # type: ignore[arg-type]
    assert await client.delete(name, name + "z", name + "s") == 3


async def test_a_pipeline_keeps_the_order_and_tells_errors_apart(client: LinkedClient, name: str) -> None:
    pipeline = client.pipeline(transaction=False)
    pipeline.set(name, "text").incr(name).get(name)
    first, error, last = await pipeline.execute(raise_on_error=False)
    assert (first, last) == (True, b"text")
    assert isinstance(error, ResponseError)
    pipeline.incr(name)
    with pytest.raises(ResponseError):
        await pipeline.execute()
    assert await pipeline.execute() == []
    await client.delete(name)


async def test_nothing_of_others_runs_inside_a_transaction(client: LinkedClient, name: str) -> None:
    async def moved() -> None:
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.incr(name).decr(name)
            assert (await pipeline.execute())[1] == 0

    await asyncio.gather(*(moved() for _ in range(100)), *(client.get(name) for _ in range(100)))
    with pytest.raises(RedisError):
        await client.pipeline().watch(name)
    await client.delete(name)


async def test_commands_that_block_do_not_wait_for_each_other(name: str) -> None:
    blocking, writing = async_client(blocking_read=True), async_client()
    waiting = asyncio.ensure_future(blocking.read_streams({name: "$"}, block_ms=10_000, count=10))
    assert await blocking.read_streams({name + "other": "$"}, block_ms=1, count=10) == []
    while not waiting.done():
        await writing.xadd(name, {"field": "value"}, maxlen=10)
        await asyncio.sleep(0.001)
    ((stream, entries),) = await waiting
    assert stream == name.encode()
    assert entries[0][1] == [b"field", b"value"]
    await writing.delete(name)
    await blocking.aclose()
    await writing.aclose()


async def test_a_cancelled_read_does_not_answer_the_next_one(name: str) -> None:
    blocking, writing = async_client(blocking_read=True), async_client()
    cancelled = asyncio.ensure_future(blocking.read_streams({name: "$"}, block_ms=10_000, count=10))
    await writing.ping()
    cancelled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled
    await writing.xadd(name, {"field": "value"})
    assert await blocking.read_streams({name + "other": "$"}, block_ms=1, count=10) == []
    await writing.delete(name)
    await blocking.aclose()
    await writing.aclose()


async def test_what_was_in_flight_is_sent_again_over_a_new_connection(client: LinkedClient) -> None:
    (own,) = (each["id"] for each in await client.client_list() if each["cmd"].startswith("client|list"))
    killer = async_client()
    await killer.client_kill_filter(_id=own)
    assert await asyncio.gather(*(client.echo(str(number)) for number in range(10))) == [
        str(number).encode() for number in range(10)
    ]
    await killer.aclose()


# --- Servers that misbehave


class Server:
    """A server on the loopback: each connection gets its answer, or its answers in order, over and over.

    None is silence, b"" hangs up. `connections` counts who came.
    """

    def __init__(self, *scripts: bytes | list[bytes] | None) -> None:
        self.scripts = list(scripts)
        self.connections = 0
        self._serving: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> LinkedClient:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        pool = redis.asyncio.ConnectionPool(host="127.0.0.1", port=port, protocol=2, driver_info=None)
        self.client = LinkedClient.over(pool, answer_s=0.05)
        return self.client

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        self._server.close()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.append(asyncio.current_task())  # type: ignore[arg-type]
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                answer = script.pop(0) if isinstance(script, list) else script
                if answer is None:
                    continue
                writer.write(answer)
                if answer == b"":
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_link, "BACKOFF", redis.backoff.ConstantBackoff(0.001))


async def test_a_silent_server_is_given_up_and_asked_again() -> None:
    server = Server(None)
    async with server as client:
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.ping()
    assert server.connections == valkey_link.RETRIES + 1


async def test_a_server_that_hangs_up_is_asked_again_until_it_answers() -> None:
    server = Server(b"", b"", b"+PONG\r\n")
    async with server as client:
        assert await client.ping() is True
    assert server.connections == 3


async def test_a_server_that_is_loading_is_waited_for() -> None:
    server = Server([b"-LOADING the dataset\r\n", b"-LOADING the dataset\r\n", b"+PONG\r\n"])
    async with server as client:
        assert await client.ping() is True
    assert server.connections == 1


async def test_an_answer_that_is_none_ends_the_connection() -> None:
    server = Server(b"?nonsense\r\n")
    async with server as client:
        with pytest.raises(redis.exceptions.ConnectionError, match="cannot be read"):
            await client.ping()
    assert server.connections == valkey_link.RETRIES + 1


def test_words_of_a_command_are_sent_apart() -> None:
    assert pack(("SCRIPT LOAD", "x")) == b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$1\r\nx\r\n"


async def test_a_cancellation_is_never_lost_at_whatever_step_of_connecting_it_comes() -> None:
    for turns in range(40):
        client = async_client(blocking_read=True)
        reading = asyncio.create_task(client.read_streams({"nothing": "$"}, block_ms=60_000, count=1))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading], timeout=20)
        assert reading.cancelled(), turns
        await client.aclose()
