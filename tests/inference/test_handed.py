"""A request that comes while a replica has nothing to do is that replica's at once, charged as if it were pulled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from core import clock
from core.valkey import async_client
from inference.queue.client import RequestQueue
from inference.queue.lua import MOST_HANDED_BYTES
from inference.queue.wire import Ticket, decode_ticket
from inference.worker import replica as module
from inference.worker.engines.simulated import SimulatedEngine
from tests.inference.edge import BODY, Edge
from tests.inference.test_queue import ticket
from tests.waiting import until

ALWAYS = 60_000
LATER = clock.epoch_ms() + 600_000


class Place:
    """One deployment's queue."""

    def __init__(self, queue: RequestQueue) -> None:
        self.queue = queue
        self.name = str(uuid4())
        self.keys = queue.keys(self.name)

    def ticket(self, name: str, tenant: str = "a", **facts: Any) -> Ticket:
        return ticket(self.name, tenant, name, **{"prompt_tokens": 10, "deadline_ms": LATER, **facts})

    async def take(self, replica: str = "rep-1", *, room: int = 4, **options: Any) -> list[str]:
        number = self.queue.next_pull()
        pulled = await self.queue.take(self.name, replica, number, room=room, **options)
        return [decode_ticket(payload).id for payload in pulled.payloads]

    async def handed(self, replica: str = "rep-1") -> list[str]:
        entries = await self.queue.client.xrange(self.keys.work(replica))
        return [decode_ticket(fields[b"w"]).id for _, fields in entries]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    client = async_client()
    made = Place(RequestQueue(client))
    yield made
    names = [name async for name in client.scan_iter(f"{made.keys.prefix}*")]
    if names:
        await client.delete(*names)
    await client.aclose()


async def test_an_idle_replica_is_handed_one_request_and_accounts_are_those_of_a_pull(place: Place) -> None:
    other = Place(place.queue)
    assert await place.take(idle_ms=ALWAYS) == []
    for where in (place, other):
        for name in ("r1", "r2"):
            for _ in range(2):  # said again, it is not done again
                await place.queue.enqueue(where.ticket(name), 100)
    assert await place.handed() == ["r1"]
    assert await other.take(room=1) == ["r1"]
    for kind in ("running", "accounts", "served"):
        read = place.queue.client.hgetall
        found, expected = [await read(getattr(where.keys, kind)) for where in (place, other)]
        assert found == expected, kind
    assert await place.take() == await other.take() == ["r2"]
    await place.queue.client.delete(*[n async for n in place.queue.client.scan_iter(f"{other.keys.prefix}*")])


@pytest.mark.parametrize(
    "why", ["nobody is idle", "no room", "no room for prompts", "not any more", "too large", "somebody waits"]
)
async def test_otherwise_it_waits_its_turn(place: Place, why: str) -> None:
    if why != "nobody is idle":
        await place.take(idle_ms=ALWAYS)
    if why == "no room":
        await place.take(room=0, express=1, idle_ms=ALWAYS)
    if why == "no room for prompts":
        await place.take(tokens=0, idle_ms=ALWAYS)
    if why == "not any more":
        await place.queue.client.hset(place.keys.idle, "rep-1", clock.epoch_ms() - 1_000)
    large = {"body": {"messages": "x" * MOST_HANDED_BYTES}} if why == "too large" else {}
    if why == "somebody waits":
        await place.queue.client.delete(place.keys.idle)
        await place.queue.enqueue(place.ticket("r0", "b"), 100)
        await place.queue.client.hset(place.keys.idle, "rep-1", clock.epoch_ms() + ALWAYS)
    await place.queue.enqueue(place.ticket("r1", **large), 100)
    assert await place.handed() == []
    assert "r1" in await place.take()


async def test_what_the_replica_has_read_is_forgotten_and_it_is_idle_again(place: Place) -> None:
    await place.take(idle_ms=ALWAYS)
    await place.queue.enqueue(place.ticket("r1"), 100)
    ((entry, _),) = await place.queue.client.xrange(place.keys.work("rep-1"))
    assert await place.take(idle_ms=ALWAYS, read=[entry]) == []
    assert await place.handed() == []
    await place.queue.enqueue(place.ticket("r2"), 100)
    assert await place.handed() == ["r2"]
    assert 0 < await place.queue.client.ttl(place.keys.work("rep-1")) <= 600


async def test_a_deadline_that_has_passed_is_not_charged_for(place: Place) -> None:
    await place.take(idle_ms=ALWAYS)
    await place.queue.enqueue(place.ticket("r1", prompt_tokens=1_000, deadline_ms=1), 100)
    account = await place.queue.client.hget(place.keys.accounts, "a")
    assert float(account.split()[0]) <= 1


async def test_a_replica_that_stops_serves_what_it_was_handed_and_is_handed_no_more(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests come while one replica after the other leaves: none is lost, each is answered once."""
    monkeypatch.setattr(module, "IDLE_MS", ALWAYS)
    engines = [SimulatedEngine({"tokens": 3}) for _ in range(4)]
    replicas = [await edge.start_replica("rep-0", engines[0])]
    async with edge.http() as http:

        async def asking() -> None:
            for _ in range(25):
                answer = await http.post("/v1/chat/completions", json=BODY)
                assert answer.status_code == 200, answer.text

        async def leaving() -> None:
            for number in range(1, 4):
                replicas.append(await edge.start_replica(f"rep-{number}", engines[number]))
                await until(lambda number=number: engines[number - 1].counters().completion_tokens)
                replicas[number - 1].stop()

        await asyncio.wait_for(asyncio.gather(asking(), asking(), leaving()), 60)
    assert sum(engine.counters().completion_tokens for engine in engines) == 2 * 25 * 3
    keys = replicas[0]._keys
    assert not await edge.valkey.exists(*(keys.work(f"rep-{number}") for number in range(3)))


async def test_what_a_replica_was_handed_and_had_not_read_when_it_stopped_is_served(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(_replica: module.Replica) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(module.Replica, "_listen", deaf)
    replica = await edge.start_replica("rep-0", SimulatedEngine({"tokens": 3}))
    await until(lambda: edge.valkey.hexists(replica._keys.idle, "rep-0"))
    async with edge.http() as http:
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
        await until(lambda: edge.valkey.xlen(replica._keys.work("rep-0")))
        replica.stop()
        answer = await asyncio.wait_for(asking, 15)
    assert answer.status_code == 200, answer.text
    assert (await edge.usage(answer.headers["x-request-id"]))["replica"] == "rep-0"
