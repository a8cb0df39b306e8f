"""The queue's asyncio client: one per web process and one per replica."""

from __future__ import annotations

from typing import Any

import msgspec
import redis.asyncio

from inference.queue import scripts
from inference.queue.keys import USAGE, DeploymentKeys, outbox
from inference.queue.wire import Frame, Ticket, UsageNote, encode_frames, encode_ticket, encode_usage

# Entries that an outbox may hold before the oldest go; a web process this far behind resumes from its own count.
OUTBOX_LENGTH = 20_000
USAGE_LENGTH = 5_000_000


class QueueFull(Exception):
    """The tenant has as many requests waiting as it may; `waiting` says how many."""

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting


class RequestQueue:
    """Requests to replicas, and what they answer. Every method is one round trip, and safe to run twice."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self._enqueue = client.register_script(scripts.ENQUEUE)
        self._pull = client.register_script(scripts.PULL)
        self._cancel = client.register_script(scripts.CANCEL)
        self._requeue = client.register_script(scripts.REQUEUE)
        self._beat = client.register_script(scripts.BEAT)
        self._keys: dict[str, DeploymentKeys] = {}

    def keys(self, deployment: str) -> DeploymentKeys:
        """Names of one deployment's keys."""
        found = self._keys.get(deployment)
        if found is None:
            found = self._keys[deployment] = DeploymentKeys(deployment)
        return found

    async def enqueue(self, ticket: Ticket, limit: int) -> int:
        """Add a request to its tenant's queue; returns its place. Raises QueueFull."""
        keys = self.keys(ticket.deployment)
        names = [
            keys.requests,
            keys.running,
            keys.waiting(ticket.tenant),
            keys.tenants,
            keys.clock,
            keys.wake,
        ]
        taken, waiting = await self._enqueue(names, [ticket.id, encode_ticket(ticket), ticket.tenant, limit])
        if not taken:
            raise QueueFull(waiting)
        return int(waiting)

    async def pull(self, deployment: str, replica: str, room: int) -> list[bytes]:
        """Up to `room` payloads (`wire.Ticket`) in the order of the queue; they belong to `replica` from now on."""
        keys = self.keys(deployment)
        names = [keys.requests, keys.running, keys.tenants, keys.clock]
        return list(await self._pull(names, [replica, room, keys.waiting("")]))

    async def cancel(self, deployment: str, tenant: str, request_id: str) -> str | None:
        """Stop a request: its replica's id when one was running it, "" when it was waiting, None when it is over."""
        keys = self.keys(deployment)
        names = [keys.requests, keys.running, keys.waiting(tenant)]
        answer = await self._cancel(names, [request_id, keys.control("")])
        return None if answer is None else answer.decode()

    async def requeue(self, ticket: Ticket, lost_replica: str) -> bool:
        """Put a lost replica's request back at the head; False when the request is no longer that replica's."""
        keys = self.keys(ticket.deployment)
        names = [
            keys.requests,
            keys.running,
            keys.waiting(ticket.tenant),
            keys.tenants,
            keys.clock,
            keys.wake,
        ]
        return bool(
            await self._requeue(
                names, [ticket.id, encode_ticket(ticket), ticket.tenant, lost_replica, keys.control("")]
            )
        )

    async def account(self, note: UsageNote, mark: str = "") -> None:
        """Write a request's usage record, and only then forget the request. `mark` is its entry in a journal."""
        keys = self.keys(note.deployment_id)
        pipeline = self.client.pipeline(transaction=False)
        entry: dict[Any, Any] = {"r": encode_usage(note)}
        if mark:
            entry["j"] = mark
        pipeline.xadd(USAGE, entry, maxlen=USAGE_LENGTH, approximate=True)
        pipeline.hdel(keys.requests, note.request_id)
        pipeline.hdel(keys.running, note.request_id)
        await pipeline.execute()

    async def send(self, boxes: dict[str, list[Frame]]) -> set[str]:
        """One message per web process with all its frames; returns the web processes that no longer exist."""
        pipeline = self.client.pipeline(transaction=False)
        webs = list(boxes)
        for web in webs:
            pipeline.xadd(
                outbox(web),
                {"f": encode_frames(boxes[web])},
                maxlen=OUTBOX_LENGTH,
                approximate=True,
                nomkstream=True,
            )
        answers = await pipeline.execute()
        return {web for web, answer in zip(webs, answers, strict=True) if answer is None}

    async def beat(self, key: str, field: str, facts: dict[str, Any]) -> int:
        """Write a heartbeat stamped with Valkey's clock; returns that clock, ms."""
        head = msgspec.json.encode(facts)[:-1]
        head += b"," if len(head) > 1 else b""
        return int(await self._beat([key], [field, head]))

    async def beats(self, key: str) -> dict[str, dict[str, Any]]:
        """All heartbeats of a hash, each with `age_ms` by Valkey's clock."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.hgetall(key)
        pipeline.time()
        found, (seconds, micros) = await pipeline.execute()
        now_ms = seconds * 1000 + micros // 1000
        return {name.decode(): with_age(value, now_ms) for name, value in found.items()}


def with_age(value: bytes, now_ms: int) -> dict[str, Any]:
    """One heartbeat with `age_ms`, the time since it was written."""
    facts: dict[str, Any] = msgspec.json.decode(value)
    facts["age_ms"] = now_ms - facts.get("at_ms", 0)
    return facts
