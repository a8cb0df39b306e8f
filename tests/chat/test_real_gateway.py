"""The chat over the whole path: real server, gateway, queue and replica; only the engine is programmed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from core.threads import in_thread
from inference.chat import partials
from tests.inference.edge import BODY, MODEL, Edge, Served, edge_for, events, text_of

ANSWER_TOKENS = 64


@pytest.fixture
async def edge(transactional_db: None) -> AsyncIterator[Edge]:
    """The server without a replica, and a store that ends with it."""
    served = await in_thread(Served.create)()
    async with edge_for(served) as running:
        yield running
        await asyncio.sleep(0.1)
        store = partials._stores.pop(asyncio.get_running_loop(), None)
        if store is not None:
            await store._client.aclose()


class Line:
    """A program's websocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.text = ""

    async def hear(self, wait_s: float = 30) -> dict[str, Any]:
        """The next message; deltas are put together on the way."""
        async with asyncio.timeout(wait_s):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        if message["type"] == "chat.started":
            assert message["offset"] <= len(self.text)
            self.text = self.text[: message["offset"]]
        if message["type"] == "chat.delta":
            assert message["offset"] == len(self.text), "neither lost nor repeated"
            self.text += message["text"]
        return message

    async def until(self, kind: str) -> dict[str, Any]:
        """The first message of a kind."""
        while (message := await self.hear())["type"] != kind:
            assert message["type"] != "error", message
        return message

    async def say(self, kind: str, **fields: Any) -> None:
        """Send one message."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def ask(self, content: str = "hello") -> tuple[str, dict[str, Any]]:
        """A new chat with a question: its id, and `chat.started`."""
        await self.say("chat.create", model=MODEL)
        chat = (await self.until("chat.created"))["chat"]["chat"]
        await self.say("chat.send", chat=chat, content=content, client_id="q1")
        return chat, await self.until("chat.started")


@contextlib.asynccontextmanager
async def line_to(edge: Edge, slug: str = "acme") -> AsyncIterator[Line]:
    """Connect with a tenant's key."""
    address = edge.base_url.replace("http://", "ws://") + "/ws/chat/"
    protocols: Any = ["atrium.chat.v1", f"atr.key.{edge.served.secrets[slug]}"]
    async with connect(address, subprotocols=protocols) as socket:
        assert socket.subprotocol == "atrium.chat.v1"
        line = Line(socket)
        await line.until("ready")
        yield line


async def whole_answer(edge: Edge) -> str:
    """What /v1 says to the same question."""
    async with edge.http() as http:
        response = await http.post("/v1/chat/completions", json={**BODY, "stream": True})
    return text_of(events(response.text))


async def test_the_chat_says_what_v1_says(edge: Edge) -> None:
    await edge.start_replica("r1")
    async with line_to(edge) as line:
        _, started = await line.ask()
        completed = await line.until("chat.completed")
    assert line.text == await whole_answer(edge)
    assert completed["usage"]["completion_tokens"] == ANSWER_TOKENS
    record = await edge.usage(started["request_id"])
    assert (record["route"], record["outcome"]) == ("/ws/chat/", "completed")


@pytest.mark.slow
async def test_leaving_stops_the_engine_within_a_second_and_coming_back_goes_on(edge: Edge) -> None:
    replica = await edge.start_replica("r1", tokens_per_s=40)
    async with line_to(edge) as line:
        chat, started = await line.ask()
        while len(line.text) < 40:
            await line.hear()
    for _ in range(10):
        await asyncio.sleep(0.1)
        if not replica.engine.counters().running:
            break
    assert replica.engine.counters().running == 0
    assert (await edge.usage(started["request_id"]))["outcome"] == "cancelled"
    async with line_to(edge) as again:
        again.text = line.text
        await again.say("chat.resume", chat=chat, message=started["message"], received=len(line.text))
        await again.until("chat.completed")
    assert again.text == await whole_answer(edge)
    assert again.text.startswith(line.text)


@pytest.mark.slow
async def test_a_lost_replica_and_then_a_lost_line_still_give_the_text_once(edge: Edge) -> None:
    await edge.start_replica("r1", tokens_per_s=40)
    async with line_to(edge) as line:
        chat, started = await line.ask()
        while len(line.text) < 30:
            await line.hear()
        await edge.start_replica("r2", tokens_per_s=40)
        await edge.lose_replica("r1")
        shown = len(line.text)
        while len(line.text) < shown + 40:
            await line.hear()
    async with line_to(edge) as again:
        again.text = line.text
        await again.say("chat.resume", chat=chat, message=started["message"], received=len(line.text))
        await again.until("chat.completed")
    assert again.text == await whole_answer(edge)


@pytest.mark.slow
async def test_tenants_talk_at_the_same_time_and_see_only_their_own(edge: Edge) -> None:
    await edge.start_replica("r1", tokens_per_s=200)
    async with line_to(edge) as acme, line_to(edge, "globex") as globex:
        (chat, _), _ = await asyncio.gather(acme.ask(), globex.ask())
        await asyncio.gather(acme.until("chat.completed"), globex.until("chat.completed"))
        await globex.say("chat.history", chat=chat)
        error = await globex.hear()
        assert (error["type"], error["code"]) == ("error", "not_found")
    assert acme.text == globex.text == await whole_answer(edge)


async def test_a_context_that_is_too_long_is_a_typed_error(edge: Edge) -> None:
    await edge.start_replica("r1", context_length=20)
    async with line_to(edge) as line:
        await line.say("chat.create", model=MODEL)
        chat = (await line.until("chat.created"))["chat"]["chat"]
        await line.say("chat.send", chat=chat, content="word " * 200, client_id="q1")
        while (message := await line.hear())["type"] != "error":
            pass
    assert message["code"] == "context_length_exceeded"
