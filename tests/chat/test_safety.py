"""The chat over the websocket passes the tenant's rules, in and out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from inference.chat import partials
from tests.chat.test_real_gateway import line_to
from tests.inference.edge import Edge, Served, edge_for
from tests.inference.test_safety_at_the_edge import ANSWER, PHRASE, publish, run

pytestmark = pytest.mark.slow


@pytest.fixture
async def edge(transactional_db: None) -> AsyncIterator[Edge]:
    """The server without a replica, and a store that ends with it. Acme blocks a phrase."""
    served = await run(Served.create)
    await run(publish, served.acme)
    async with edge_for(served) as running:
        yield running
        store = partials._stores.pop(asyncio.get_running_loop(), None)
        if store is not None:
            with contextlib.suppress(Exception):
                await store._client.aclose()


async def test_a_question_with_the_phrase_is_refused(edge: Edge) -> None:
    await edge.start_replica("r1")
    async with line_to(edge) as line:
        await line.say("chat.create", model="sim")
        chat = (await line.until("chat.created"))["chat"]["chat"]
        await line.say("chat.send", chat=chat, content=f"say {PHRASE}", client_id="q1")
        while (message := await line.hear())["type"] != "error":
            assert message["type"] != "chat.delta"
    assert (message["code"], message["retryable"]) == ("content_filter", False)
    assert line.text == ""


async def test_an_answer_with_the_phrase_ends_before_it(edge: Edge) -> None:
    await edge.start_replica("r1", text=ANSWER, tokens=64)
    async with line_to(edge, "globex") as line:
        await line.ask()
        await line.until("chat.completed")
        assert PHRASE in line.text, "the control"
        plain = line.text
    async with line_to(edge) as line:
        await line.ask()
        completed = await line.until("chat.completed")
    assert completed["finish_reason"] == "content_filter"
    assert line.text == plain[: plain.index(PHRASE)]
