"""The remote engine keeps the contract, in front of a real server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inference.worker.engines.remote import RemoteEngine
from inference.worker.port import EngineRequest
from tests.engines.asking import chat
from tests.engines.contract import EmbeddingContract, GenerationContract
from tests.engines.openai_server import OpenAIServer

LOOPBACK = ["127.0.0.0/8"]


class TestRemoteEngine(GenerationContract, EmbeddingContract):
    """A server that gives its usage at the end of a stream, as OpenAI does."""

    endless = {"max_tokens": 400}
    dialect = "openai"

    @pytest.fixture
    async def server(self) -> AsyncIterator[OpenAIServer]:
        arguments = {"tokens": 400, "context_length": 2000, "tokens_per_s": 2000}
        server = OpenAIServer(arguments, credential="upstream-credential")
        await server.start()
        yield server
        await server.close()

    @pytest.fixture
    async def engine(self, server: OpenAIServer) -> AsyncIterator[RemoteEngine]:
        engine = RemoteEngine(
            server.base_url,
            server.model,
            "upstream-credential",
            {"dialect": self.dialect},
            networks=LOOPBACK,
        )
        await engine.start()
        yield engine
        await engine.close()
        assert server.engine.counters().running == 0

    def refused(self) -> EngineRequest:
        return chat("word " * 2000)


class TestRemoteEngineInFrontOfVllm(TestRemoteEngine):
    """A server of the vLLM family gives its usage with every chunk."""

    dialect = "vllm"

    @pytest.fixture
    async def server(self) -> AsyncIterator[OpenAIServer]:
        arguments = {"tokens": 400, "context_length": 2000, "tokens_per_s": 2000}
        server = OpenAIServer(arguments, credential="upstream-credential")
        server.behaviour.usage_on_every_chunk = True
        await server.start()
        yield server
        await server.close()
