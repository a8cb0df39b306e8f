"""What fair sharing costs and what it gives. Needs nothing that runs: starts a Valkey and a replica of its own.

`python benchmarks/fairness.py [scripts|quiet|throughput|vllm]`, the first three by default; below three minutes.

scripts: the queue's Lua at 10, 1,000 and 100,000 waiting tenants, in µs of Valkey's processor per call.
quiet: a real replica on the simulated engine, a tenant that floods it and one that asks now and then: time to first
token, p99, beside each other and alone.
throughput: the same replica and the same flood, once with the fair order and once with every request in one queue,
first come, first served.
vllm: the same two orders in turn, on vLLM with the starter model; needs the engine's packages, and two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

LATER = 4_000_000_000_000
# A model of tens of billions of parameters on one node, as measured by others: 120 ms to the first token of an idle
# engine, 40 tokens per second and answer.
ENGINE = {"tokens": 400, "first_token_ms": 120, "tokens_per_s": 40, "capacity": 64}


def start() -> None:
    """A Valkey of our own, and Django's settings for it."""
    from tests import services

    services.start()
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.test"
    import django

    django.setup()


def a_ticket(deployment: str, tenant: str, name: str, web: str = "web", **facts: Any) -> Any:
    """A request of no content."""
    from inference.queue.wire import Ticket

    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "max_tokens": 400,
    }
    fields: dict[str, Any] = {
        "id": name, "web": web, "attempt": 0, "kind": "chat", "tenant": tenant, "key": None, "user": None, "model": "m",
        "version": "v", "deployment": deployment, "route": "/v1/chat/completions", "salt": "s", "enqueued_ms": 1,
        "deadline_ms": LATER, "body": body, "prompt_tokens": 20,
    }  # fmt: skip
    return Ticket(**{**fields, **facts})


def measure_scripts(sizes: list[int]) -> None:
    """Valkey's own processor time per call of each script while so many tenants wait."""
    from core.valkey import sync_client

    for tenants in sizes:
        took = time_scripts(sync_client(), tenants)
        line = ", ".join(f"{name} {micros:.0f}" for name, micros in took.items())
        print(f"{tenants:,} tenants wait: {line} µs", flush=True)


def time_scripts(client: Any, tenants: int, rounds: int = 500) -> dict[str, float]:
    """µs of Valkey's processor per call; what else the machine does is not in it."""
    from inference.queue import calls, scripts
    from inference.queue.keys import DeploymentKeys
    from inference.queue.wire import note_from

    keys = DeploymentKeys(f"bench-{uuid4()}")

    def run(script: str, each: list[list[Any]]) -> float:
        """All calls, a thousand per round trip."""
        sha = client.script_load(script)
        before = client.info("cpu")
        for begin in range(0, len(each), 1_000):
            pipeline = client.pipeline(transaction=False)
            for arguments in each[begin : begin + 1_000]:
                pipeline.evalsha(sha, len(keys.fair), *keys.fair, *arguments)
            pipeline.execute()
        after = client.info("cpu")
        spent = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
        return float(spent) / len(each) * 1e6

    def put(number: int, name: str) -> list[Any]:
        made = a_ticket("d", f"t{number}", f"{name}{number}", body={"messages": []})
        return calls.enqueue(keys, made, 999_999)

    names = [f"w{number % tenants}" for number in range(rounds)]
    notes = [
        note_from(a_ticket("d", "t", name), outcome="completed", code="", finished_ms=1) for name in names
    ]
    run(scripts.ENQUEUE, [put(number, "w") for number in range(tenants)])
    took = {
        "enqueue": run(scripts.ENQUEUE, [put(number % tenants, f"n{number}-") for number in range(rounds)]),
        "pull of 1": run(scripts.PULL, [calls.pull(keys, "r", str(n), room=1) for n in range(rounds)]),
        "pull of 16": run(
            scripts.PULL, [calls.pull(keys, "r", f"b{n}", room=16) for n in range(rounds // 20)]
        ),
    }
    running = [name.decode() for name in client.hkeys(keys.running)]
    batch = dict.fromkeys(running[:64], (20, 7))
    took["charge of 64"] = run(
        scripts.CHARGE,
        [calls.charge(keys, dict.fromkeys(batch, (20, 7 + number)))[0] for number in range(rounds)],
    )
    took["status"] = run(scripts.STATUS, [calls.status(keys, f"t{n % tenants}") for n in range(rounds)])
    took["finish"] = run(scripts.FINISH, [calls.finish(keys, note) for note in notes])
    left = list(client.scan_iter(keys.prefix + "*", count=10_000))
    for begin in range(0, len(left), 1_000):
        client.delete(*left[begin : begin + 1_000])
    return took


class Clients:
    """Requests straight into a queue, and the answers out of an outbox."""

    def __init__(self, deployment: str) -> None:
        from core.valkey import async_client
        from inference.queue.client import RequestQueue

        self.web, self.deployment = f"bench-{uuid4()}", deployment
        self.client = async_client()
        self.reading: Any = async_client(blocking_read=True)
        self.queue = RequestQueue(self.client)
        self.first: dict[str, asyncio.Future[float]] = {}
        self.done: dict[str, asyncio.Future[float]] = {}
        self.tokens = 0

    async def open(self) -> None:
        """Begin to read."""
        from inference.queue.keys import WEBS, outbox

        await self.client.xadd(outbox(self.web), {"f": b"\x90"})

        async def beat() -> None:
            while True:
                await self.queue.beat(WEBS, self.web, {})
                await asyncio.sleep(1)

        self.tasks = [asyncio.create_task(self._read()), asyncio.create_task(beat())]

    async def _read(self) -> None:
        from inference.queue.keys import outbox
        from inference.queue.wire import CHUNK, DONE, FAILURE, decode_frames

        last: Any = b"0"
        while True:
            for _name, entries in (
                await self.reading.xread({outbox(self.web): last}, block=1000, count=1000) or ()
            ):
                last = entries[-1][0]
                for _entry_id, fields in entries:
                    for frame in decode_frames(fields[b"f"]):
                        now = time.perf_counter()
                        if frame.kind == CHUNK and frame.tokens:
                            self.tokens += sum(len(ids) for _, ids in frame.tokens)
                            if not self.first[frame.id].done():
                                self.first[frame.id].set_result(now)
                        elif frame.kind in (DONE, FAILURE) and not self.done[frame.id].done():
                            self.done[frame.id].set_result(now)

    async def send(self, tenant: str, **facts: Any) -> str:
        """One request; its name."""
        loop = asyncio.get_running_loop()
        name = f"req_{uuid4().hex}"
        self.first[name], self.done[name] = loop.create_future(), loop.create_future()
        await self.queue.enqueue(a_ticket(self.deployment, tenant, name, self.web, **facts), 1_000_000)
        return name

    async def first_token_ms(self, tenant: str, tokens: int = 16) -> float:
        """Time to the first token of one short request, and then to its end."""
        began = time.perf_counter()
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
            "max_tokens": tokens,
        }
        name = await self.send(tenant, body=body)
        first = await self.first[name]
        await self.done[name]
        return (first - began) * 1000

    async def close(self) -> None:
        """Hang up."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.client.aclose()
        await self.reading.aclose()


async def with_replica(arguments: dict[str, Any], work: Any) -> Any:
    """Run `work(clients)` with one replica of the simulated engine."""
    from inference.worker.engines.simulated import SimulatedEngine

    return await with_engine(SimulatedEngine(arguments), work)


async def with_engine(engine: Any, work: Any) -> Any:
    """Run `work(clients)` with a replica of this engine, which is closed after it."""
    from inference.worker.replica import Replica

    deployment = str(uuid4())
    replica = Replica(replica_id=f"rep-{uuid4()}", node="bench", deployment_id=deployment, engine=engine)
    serving = asyncio.create_task(replica.run())
    while replica.state != "ready":  # noqa: ASYNC110 - a replica says so nowhere else
        await asyncio.sleep(0.01)
    clients = Clients(deployment)
    await clients.open()
    try:
        return await work(clients)
    finally:
        for job in list(replica._jobs.values()):
            if job.task is not None:
                job.task.cancel()
        keys = replica._keys
        for key in [key async for key in clients.client.scan_iter(keys.prefix + "*", count=10_000)]:
            await clients.client.delete(key)
        replica.stop()
        await serving
        await clients.close()


async def measure_quiet(rounds: int) -> None:
    """p99 of a quiet tenant, alone and beside 400 long requests."""

    async def alone(clients: Clients) -> list[float]:
        return sorted([await clients.first_token_ms("quiet") for _ in range(rounds)])

    async def beside(clients: Clients) -> list[float]:
        for _ in range(400):
            await clients.send("flood")
        await asyncio.sleep(1)
        return await alone(clients)

    own, flooded = await with_replica(ENGINE, alone), await with_replica(ENGINE, beside)
    at = int(rounds * 0.99) - 1
    print(
        f"quiet tenant, {rounds} requests one after the other: p50 {own[rounds // 2]:.0f} ms and p99 {own[at]:.0f} ms"
        f" alone, p50 {flooded[rounds // 2]:.0f} ms and p99 {flooded[at]:.0f} ms beside a flood of 400 long ones:"
        f" p99 {flooded[at] / own[at]:.2f} times"
    )


async def measure_throughput(seconds: float) -> None:
    """Tokens per second of eight backlogged tenants: the fair order, and all of it as one tenant's."""

    def work(tenants: int) -> Any:
        async def flood(clients: Clients) -> float:
            for number in range(600):
                await clients.send(f"t{number % tenants}", weight=1.0 + number % tenants % 3)
            await asyncio.sleep(1)
            before, began = clients.tokens, time.perf_counter()
            await asyncio.sleep(seconds)
            return (clients.tokens - before) / (time.perf_counter() - began)

        return flood

    arguments = {"tokens": 100, "tokens_per_s": 40, "capacity": 64}
    first_come: float = await with_replica(arguments, work(1))
    fair: float = await with_replica(arguments, work(8))
    print(
        f"throughput: {fair:,.0f} tokens/s fair, {first_come:,.0f} first come: {fair / first_come:.3f} times"
    )


class Kept:
    """An engine that is started once and serves one replica after another."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def start(self) -> None:
        """It has been."""

    async def close(self) -> None:
        """Not yet."""


async def measure_vllm(pairs: int, requests: int = 320, tokens: int = 64) -> None:
    """Tokens per second of vLLM at 64 running requests: the fair order of eight tenants, and first come, first served.

    In turn, so that what else the machine does falls on both.
    """
    from inference.worker.engines.vllm.engine import VllmEngine

    def work(tenants: int) -> Any:
        async def flood(clients: Clients) -> float:
            body = {
                "model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True,
                "max_tokens": tokens, "ignore_eos": True,
            }  # fmt: skip
            began = time.perf_counter()
            for number in range(requests):
                await clients.send(
                    f"t{number % tenants}", weight=1.0 + number % tenants % 3, body=body, most_tokens=tokens
                )
            await asyncio.gather(*clients.done.values())
            return clients.tokens / (time.perf_counter() - began)

        return flood

    arguments = {"max_model_len": 1024, "max_num_seqs": 64, "enforce_eager": True, "kv_cache_space_gib": 1}
    engine = VllmEngine(str(ROOT / "starter_model" / "weights"), arguments)
    await engine.start()
    try:
        await with_engine(Kept(engine), work(1))  # the first run warms up, and counts for nothing
        found: dict[int, list[float]] = {1: [], 8: []}
        for pair in range(pairs):
            for tenants in (1, 8) if pair % 2 else (8, 1):
                found[tenants].append(await with_engine(Kept(engine), work(tenants)))
    finally:
        await engine.close()
    ratios = [fair / first for fair, first in zip(found[8], found[1], strict=True)]
    print(
        f"vLLM, {pairs} runs each: {statistics.median(found[8]):,.0f} tokens/s fair,"
        f" {statistics.median(found[1]):,.0f} first come: {statistics.median(ratios):.3f} times"
        f" ({min(ratios):.3f} to {max(ratios):.3f})"
    )


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="scripts|quiet|throughput|vllm")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    known = ["scripts", "quiet", "throughput"]
    what = options.what or known
    if not set(what) <= {*known, "vllm"}:
        parser.error(f"choose from {', '.join([*known, 'vllm'])}")
    start()
    if "scripts" in what:
        measure_scripts([10, 1_000, 100_000])
    if "quiet" in what:
        asyncio.run(measure_quiet(options.rounds))
    if "throughput" in what:
        asyncio.run(measure_throughput(15))
    if "vllm" in what:
        asyncio.run(measure_vllm(8))


if __name__ == "__main__":
    main()
