"""What decides whose request is next: the queue's own scripts on a real Valkey, and what they are compared with."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

import redis

from inference.queue.blocking import BlockingQueue
from inference.queue.wire import Ticket, decode_ticket, note_from
from inference.simulation.traces import Arrival

FAR_MS = 2**45  # a deadline that no run reaches


@dataclass(slots=True)
class Job:
    """One request on its way. Times are ms of the virtual clock, below 0 until they are known."""

    id: str
    arrival: Arrival
    started_ms: float = -1.0
    first_ms: float = -1.0
    ended_ms: float = -1.0
    replica: int = -1
    refused: bool = False

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.arrival.tenant

    def tokens_at(self, now_ms: float, step_ms: float) -> int:
        """Answer tokens that have come out by then: one per step, from the first on."""
        if self.first_ms < 0 or now_ms < self.first_ms:
            return 0
        return min(self.arrival.completion_tokens, 1 + int((now_ms - self.first_ms) / step_ms + 1e-9))


class Scheduler(Protocol):
    """Between arrivals and replicas."""

    express: bool  # whether it takes requests above a replica's slots
    others: bool  # more than one tenant waits, as far as the last `take` knows

    @property
    def waiting(self) -> int:
        """How many wait."""

    def add(self, job: Job, now_ms: float) -> bool:
        """A request has arrived; False when it is refused."""

    def take(self, replica: int, room: int, express: int, tokens: int, now_ms: float) -> list[Job]:
        """What the replica is to begin, in order."""

    def charge(self, used: dict[str, tuple[int, int]], now_ms: float) -> None:
        """What running requests have used so far."""

    def finish(self, job: Job, now_ms: float) -> None:
        """A request has ended."""

    def close(self) -> None:
        """Leave nothing behind."""


class Fair:
    """The platform's own: the scripts of `inference.queue`, on keys of a deployment that does not exist."""

    def __init__(self, client: redis.Redis, weights: dict[str, float], *, express: bool = True) -> None:
        self._queue = BlockingQueue(client, f"simulation-{uuid4()}")
        self._weights = weights
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count()
        self._waiting = 0
        self.express = express
        self.others = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    def add(self, job: Job, now_ms: float) -> bool:
        """See Scheduler."""
        self._queue.enqueue(self._ticket(job), 2**31, now_ms=_clock(now_ms))
        self._jobs[job.id] = job
        self._waiting += 1
        return True

    def take(self, replica: int, room: int, express: int, tokens: int, now_ms: float) -> list[Job]:
        """See Scheduler."""
        pulled = self._queue.take(
            f"replica-{replica}",
            str(next(self._numbers)),
            room=room,
            express=express if self.express else 0,
            tokens=tokens,
            now_ms=_clock(now_ms),
        )
        self.others = pulled.others
        self._waiting -= len(pulled.payloads)
        return [self._jobs[decode_ticket(payload).id] for payload in pulled.payloads]

    def charge(self, used: dict[str, tuple[int, int]], now_ms: float) -> None:
        """See Scheduler."""
        self._queue.charge(used, now_ms=_clock(now_ms))

    def finish(self, job: Job, now_ms: float) -> None:
        """See Scheduler."""
        note = note_from(self._ticket(job), outcome="completed", code="", finished_ms=0)
        note.prompt_tokens = job.arrival.prompt_tokens
        note.completion_tokens = job.arrival.completion_tokens
        self._queue.finish(note, now_ms=_clock(now_ms))
        del self._jobs[job.id]

    def close(self) -> None:
        """See Scheduler."""
        for names in _batches(self._queue.client.scan_iter(f"{self._queue.keys.prefix}*", count=10_000)):
            self._queue.client.delete(*names)

    def _ticket(self, job: Job) -> Ticket:
        return Ticket(
            id=job.id, web="", attempt=0, kind="chat", tenant=job.tenant, key=None, user=None, model="", version="",
            deployment="", route="", salt="", enqueued_ms=0, deadline_ms=FAR_MS, body={},
            weight=self._weights.get(job.tenant, 1.0), prompt_tokens=job.arrival.prompt_tokens,
        )  # fmt: skip


class FirstCome:
    """Who came first is served first, whoever it is."""

    express = False
    others = False

    def __init__(self) -> None:
        self._queue: deque[Job] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def add(self, job: Job, now_ms: float) -> bool:
        """See Scheduler."""
        self._queue.append(job)
        return True

    def take(self, replica: int, room: int, express: int, tokens: int, now_ms: float) -> list[Job]:
        """See Scheduler."""
        taken: list[Job] = []
        while self.waiting and len(taken) < room and tokens > 0:
            job = self._next()
            tokens -= job.arrival.prompt_tokens
            taken.append(job)
        return taken

    def _next(self) -> Job:
        return self._queue.popleft()

    def charge(self, used: dict[str, tuple[int, int]], now_ms: float) -> None:
        """Nothing is counted."""

    def finish(self, job: Job, now_ms: float) -> None:
        """Nothing is counted."""

    def close(self) -> None:
        """Nothing is kept."""


class RoundRobin(FirstCome):
    """One request of each tenant in turn, however long it is."""

    def __init__(self) -> None:
        super().__init__()
        self._queues: dict[str, deque[Job]] = {}
        self._turns: deque[str] = deque()
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._count

    def add(self, job: Job, now_ms: float) -> bool:
        """See Scheduler."""
        queue = self._queues.setdefault(job.tenant, deque())
        if not queue:
            self._turns.append(job.tenant)
        queue.append(job)
        self._count += 1
        return True

    def _next(self) -> Job:
        tenant = self._turns.popleft()
        job = self._queues[tenant].popleft()
        if self._queues[tenant]:
            self._turns.append(tenant)
        self._count -= 1
        return job


class RateLimited(FirstCome):
    """First come, first served, with so many requests a minute for each tenant; what is more is refused."""

    def __init__(self, per_minute: float) -> None:
        super().__init__()
        self._per_minute = per_minute
        self._counts: dict[tuple[str, int], int] = {}

    def add(self, job: Job, now_ms: float) -> bool:
        """See Scheduler."""
        minute = (job.tenant, int(now_ms // 60_000))
        count = self._counts.get(minute, 0)
        if count + 1 > self._per_minute:
            return False
        self._counts[minute] = count + 1
        return super().add(job, now_ms)


def _clock(now_ms: float) -> int:
    """The virtual clock begins at 1: 0 would ask for Valkey's own."""
    return int(now_ms) + 1


def _batches(names: Iterable[bytes]) -> Iterable[list[bytes]]:
    iterator = iter(names)
    while batch := list(itertools.islice(iterator, 1_000)):
        yield batch
