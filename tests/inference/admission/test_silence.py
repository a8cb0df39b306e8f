"""A Valkey that takes connections and says nothing: refused in bounded time, not waited for (F06)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import RedisError

from core.valkey import async_client
from inference.admission import loader
from inference.errors import Rejected
from inference.queue import client as queue_client
from inference.queue.client import RequestQueue
from tests.inference.admission.harness import Desk, policy
from tests.inference.test_queue import ticket


@pytest.fixture
async def silent(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """REDIS_URL of a server that never answers, and patience of half a second."""
    writers: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    settings.REDIS_URL = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    monkeypatch.setattr(loader, "ANSWER_S", 0.5)
    monkeypatch.setattr(queue_client, "ANSWER_S", 0.5)
    yield
    server.close()
    for writer in writers:
        writer.close()


@pytest.mark.slow
async def test_f06_a_silent_valkey_is_refused_in_bounded_time(silent: None) -> None:
    desk = Desk(async_client())
    begun = time.monotonic()
    with pytest.raises(Rejected) as refused:
        await desk.ask(policy())
    assert (refused.value.status, refused.value.code) == (503, "service_unavailable")
    assert time.monotonic() - begun < 4
    await desk.close()


@pytest.mark.slow
async def test_a_silent_valkey_takes_no_request_into_a_queue(silent: None) -> None:
    client = async_client()
    begun = time.monotonic()
    with pytest.raises(RedisError):
        await RequestQueue(client).enqueue(ticket("d", "t", "r"), 10)
    assert time.monotonic() - begun < 4
    await client.aclose()
