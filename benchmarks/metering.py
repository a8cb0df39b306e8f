"""What engine time per request costs vLLM: tokens per second at 64 requests at once, with the meter and without.

`python benchmarks/metering.py`; starts vLLM twice with the starter model, one engine with the meter and one without,
and lets them work in turn, so that what else the machine does falls on both. Needs no server; about two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")

ARGUMENTS = {"max_model_len": 1024, "max_num_seqs": 64, "enforce_eager": True, "kv_cache_space_gib": 1}


async def started(*, metered: bool) -> Any:
    """An engine; without the meter it is vLLM's own scheduler, and nothing looks at what its steps took."""
    from inference.worker.engines.vllm import startup
    from inference.worker.engines.vllm.engine import VllmEngine

    can_meter = startup.can_meter
    if not metered:
        startup.can_meter = lambda: False
    try:
        engine = VllmEngine(str(ROOT / "starter_model" / "weights"), ARGUMENTS)
        await engine.start()
    finally:
        startup.can_meter = can_meter
    return engine


async def tokens_per_s(engine: Any, requests: int, tokens: int) -> float:
    """So many streams of so many tokens at once."""
    from inference.worker.port import EngineRequest

    async def one(number: int) -> None:
        body = {
            "model": "m", "messages": [{"role": "user", "content": f"What is Atrium? {number}"}], "stream": True,
            "max_tokens": tokens, "ignore_eos": True, "temperature": 0,
        }  # fmt: skip
        request = EngineRequest(f"bench-{time.perf_counter_ns()}-{number}", "chat", body, "salt", [])
        async with aclosing(engine.run(request)) as events:
            async for _ in events:
                pass
        await engine.settle(request)
        assert request.meter.completion_tokens == tokens

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(requests)))
    return requests * tokens / (time.perf_counter() - began)


async def measure(rounds: int, requests: int, tokens: int) -> None:
    """Both in turn; prints the medians, and the median of the rounds' ratios."""
    engines = {metered: await started(metered=metered) for metered in (True, False)}
    found: dict[bool, list[float]] = {True: [], False: []}
    try:
        for engine in engines.values():
            await tokens_per_s(engine, requests, tokens)  # warms up
        for number in range(rounds):
            for metered in (True, False) if number % 2 else (False, True):
                found[metered].append(await tokens_per_s(engines[metered], requests, tokens))
    finally:
        for engine in engines.values():
            await engine.close()
    ratios = [on / off for on, off in zip(found[True], found[False], strict=True)]
    print(
        f"{requests} requests of {tokens} tokens at once, {rounds} rounds each:"
        f" {statistics.median(found[True]):,.0f} tokens/s with the meter, {statistics.median(found[False]):,.0f}"
        f" without: {statistics.median(ratios):.4f} times (quartiles"
        f" {' to '.join(f'{q:.3f}' for q in statistics.quantiles(ratios, n=4)[::2])})"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    import django

    django.setup()
    asyncio.run(measure(options.rounds, options.requests, options.tokens))


if __name__ == "__main__":
    main()
