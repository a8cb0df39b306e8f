"""A server elsewhere, and remote engines in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from inference.worker.engines.remote import RemoteEngine
from tests.engines.openai_server import OpenAIServer
from tests.engines.upstream import CREDENTIAL, LOOPBACK, Connect


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer({"tokens": 200, "embedding_dimensions": 8}, credential=CREDENTIAL)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def connect(server: OpenAIServer) -> AsyncIterator[Connect]:
    """Starts engines in front of the server, and closes them."""
    engines: list[RemoteEngine] = []

    async def connect(**args: Any) -> RemoteEngine:
        engine = RemoteEngine(server.base_url, server.model, CREDENTIAL, args, networks=LOOPBACK)
        engines.append(engine)
        await engine.start()
        return engine

    yield connect
    for engine in engines:
        await engine.close()


@pytest.fixture
async def engine(connect: Connect) -> RemoteEngine:
    return await connect()
