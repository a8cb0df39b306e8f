"""Law L7 over real vLLM: two backlogged tenants through the queue and a replica, by the engine's own meters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from core.valkey import async_client
from inference.queue.client import RequestQueue
from inference.queue.keys import WEBS, outbox
from inference.worker.port import Counters, Engine, EngineRequest
from inference.worker.replica import Replica
from tests.engines.test_vllm_contract import WEIGHTS, ended, started
from tests.inference.test_queue import ticket

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed (ENGINE=none)"),
    pytest.mark.skipif(
        not Path(WEIGHTS / "model.safetensors").exists(), reason="the starter model is not there"
    ),
]

SLOTS, LONG, SHORT, PROMPT = 4, 32, 16, 120


class Lent:
    """An engine that outlives its replica; remembers every request that it was given."""

    can_resume = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.capacity, self.express = engine.capacity, engine.express
        self.prefill_tokens = engine.prefill_tokens
        self.given: list[EngineRequest] = []

    async def start(self) -> None:
        """It has been."""

    async def close(self) -> None:
        """Not yet."""

    def run(self, request: EngineRequest) -> Any:
        self.given.append(request)
        return self._engine.run(request)

    async def check_health(self) -> None:
        await self._engine.check_health()

    def counters(self) -> Counters:
        return self._engine.counters()

    def service(self, tenant: str) -> int:
        """Tokens as VTC weighs them, of all that the tenant's requests have used so far."""
        meters = [request.meter for request in self.given if request.id.startswith(tenant)]
        return sum(meter.prompt_tokens + 2 * meter.completion_tokens for meter in meters)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def starter() -> AsyncIterator[Engine]:
    engine = await started(
        WEIGHTS,
        {"max_model_len": 1024, "max_num_seqs": SLOTS, "enforce_eager": True, "kv_cache_space_gib": 1},
    )
    yield engine
    await ended(engine)


@pytest.mark.parametrize("weight", [1.0, 3.0])
async def test_two_backlogged_tenants_stay_within_the_bound(starter: Engine, weight: float) -> None:
    engine, deployment, web = Lent(starter), str(uuid4()), f"web-{uuid4()}"
    weights = {"long": weight, "short": 1.0}
    client = async_client()
    queue = RequestQueue(client)
    await client.xadd(outbox(web), {"f": b"\x90"})
    await queue.beat(WEBS, web, {})
    for tenant, tokens, requests in (("long", LONG, int(18 * weight)), ("short", SHORT, 40)):
        for number in range(requests):
            body = {
                "model": "m", "max_tokens": tokens, "ignore_eos": True, "stream": number % 2 == 0,
                "messages": [{"role": "user", "content": f"What is Atrium? {number}"}],
            }  # fmt: skip
            made = ticket(
                deployment, tenant, f"{tenant}-{number}", web=web, body=body, weight=weights[tenant],
                prompt_tokens=30, deadline_ms=4_000_000_000_000,
            )  # fmt: skip
            await queue.enqueue(made, 1_000)
    replica = Replica(replica_id=f"rep-{uuid4()}", node="test", deployment_id=deployment, engine=engine)
    serving = asyncio.create_task(replica.run())
    bound = 2 * max(PROMPT, 2 * (SLOTS + engine.express) * LONG)
    samples, furthest, most = 0, 0.0, 0
    while all([await client.zcard(queue.keys(deployment).queue(tenant)) for tenant in weights]):
        assert not serving.done()
        long, short = (engine.service(tenant) / weights[tenant] for tenant in weights)
        furthest = max(furthest, abs(long - short))
        most = max(most, engine.counters().running)
        samples += 1
        if samples % 25 == 0:
            await queue.beat(WEBS, web, {})
        await asyncio.sleep(0.02)
    assert furthest <= bound, f"{furthest} of {bound}"
    assert min(engine.service(tenant) / weights[tenant] for tenant in weights) > bound, "too short to show it"
    assert samples > 20
    assert most >= SLOTS, "L8: the batch was full"
    for job in list(replica._jobs.values()):
        job.task.cancel()  # type: ignore[union-attr]
    names = [name async for name in client.scan_iter(queue.keys(deployment).prefix + "*", count=5_000)]
    await client.delete(*names, outbox(web))
    replica.stop()
    await asyncio.wait_for(serving, 30)
    await client.aclose()
