"""The simulated engine keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inference.worker.engines.simulated import SimulatedEngine
from inference.worker.port import EngineRequest
from tests.engines.asking import chat
from tests.engines.contract import EmbeddingContract, GenerationContract, ResumeContract


class TestSimulatedEngine(GenerationContract, ResumeContract, EmbeddingContract):
    """Without a pace, all in one engine."""

    endless = {"max_tokens": 400}

    @pytest.fixture
    async def engine(self) -> AsyncIterator[SimulatedEngine]:
        engine = SimulatedEngine({"tokens": 400, "context_length": 2000, "tokens_per_s": 2000})
        await engine.start()
        yield engine
        await engine.close()

    def refused(self) -> EngineRequest:
        return chat("word " * 2000)
