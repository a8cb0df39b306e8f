"""The machine: replicas with slots, that read prompts one after the other and write answers side by side.

The model of an engine, and what it leaves out: a replica has `slots` (and a quarter more, for express requests). It
reads prompts in pieces of 512 tokens, one after the other, `prefill_tokens_per_s`, those of tenants with the fewest
requests on it first. The first token comes `first_token_ms` after a prompt has been read: rendering, the way to the
replica and back, the step itself. From then on an answer grows by one token each `step_ms`, however many there are:
decoding is bound by memory, and reading does not slow it down (chunked prefill beside decoding). No prefix is cached.
`unread_tokens` bounds the prompts that wait inside a replica.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field

from inference.simulation.schedulers import Job, Scheduler
from inference.simulation.traces import Trace

_ARRIVE, _READ, _END, _CHARGE = range(4)
_PIECE = 512  # prompt tokens


@dataclass(frozen=True, slots=True)
class Machine:
    """How many replicas there are, and how fast each is."""

    replicas: int = 1
    slots: int = 32
    prefill_tokens_per_s: float = 20_000.0
    step_ms: float = 25.0
    first_token_ms: float = 100.0
    unread_tokens: int = 4_096
    charge_ms: float = 50.0  # how often tenants are charged for what has come out

    @property
    def express(self) -> int:
        """Requests above the slots."""
        return max(1, self.slots // 4)

    def requests_per_s(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What all replicas together can serve of requests of one size."""
        busy_s = (
            prompt_tokens / self.prefill_tokens_per_s
            + (self.first_token_ms + (completion_tokens - 1) * self.step_ms) / 1000
        )
        by_reading = self.prefill_tokens_per_s / prompt_tokens
        return self.replicas * min(self.slots / busy_s, by_reading)


@dataclass(slots=True)
class _Replica:
    number: int
    running: int = 0
    unread: int = 0
    reading: bool = False
    prompts: list[tuple[int, int, int, Job]] = field(default_factory=list)  # …, tokens left to read
    tenants: Counter[str] = field(default_factory=Counter)


class Run:
    """One scheduler on one trace. `jobs` says afterwards what became of each request."""

    def __init__(self, machine: Machine, trace: Trace, scheduler: Scheduler) -> None:
        self.machine = machine
        self.scheduler = scheduler
        self.jobs = [Job(f"r{number}", arrival) for number, arrival in enumerate(trace.arrivals)]
        self._replicas = [_Replica(number) for number in range(machine.replicas)]
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, int, Job | None]] = []
        self._open: list[tuple[int, int]] = [(0, number) for number in range(machine.replicas)]
        self._running: dict[str, Job] = {}
        self._express_at = 0

    def play(self) -> list[Job]:
        """From the first arrival until nothing is left to do."""
        for job in self.jobs:
            self._at(job.arrival.at_ms, _ARRIVE, job)
        self._at(self.machine.charge_ms, _CHARGE, None)
        left = len(self.jobs)
        while left:
            now, _number, kind, subject = heapq.heappop(self._events)
            if subject is None:
                self._charge(now)
            elif kind == _ARRIVE:
                left -= not self._arrive(subject, now)
            elif kind == _READ:
                self._finish_reading(subject, now)
            else:
                self._end(subject, now)
                left -= 1
        return self.jobs

    def _at(self, when_ms: float, kind: int, job: Job | None) -> None:
        heapq.heappush(self._events, (when_ms, next(self._numbers), kind, job))

    def _arrive(self, job: Job, now: float) -> bool:
        if not self.scheduler.add(job, now):
            job.refused = True
            return False
        while self._open:
            running, number = self._open[0]
            replica = self._replicas[number]
            if running != replica.running or not self._room(replica):
                heapq.heappop(self._open)  # an old entry: the replica comes back when it has room
                continue
            self._ask(replica, now)
            return True
        if self.scheduler.express:
            self._ask_express(now)
        return True

    def _ask_express(self, now: float) -> None:
        """The next replica that takes requests above its slots."""
        for _ in range(min(len(self._replicas), 16)):
            self._express_at = (self._express_at + 1) % len(self._replicas)
            replica = self._replicas[self._express_at]
            if self._express(replica):
                self._ask(replica, now)
                return

    def _room(self, replica: _Replica) -> int:
        if replica.unread >= self.machine.unread_tokens:
            return 0
        return max(0, self.machine.slots - replica.running)

    def _express(self, replica: _Replica) -> int:
        return self.machine.slots + self.machine.express - max(replica.running, self.machine.slots)

    def _ask(self, replica: _Replica, now: float) -> None:
        if self.scheduler.waiting:
            tokens = self.machine.unread_tokens - replica.unread
            room = self._room(replica)
            express = self._express(replica) if self.scheduler.express else 0
            if room or express:
                for job in self.scheduler.take(replica.number, room, express, tokens, now):
                    self._begin(replica, job, now)
        if self._room(replica):
            heapq.heappush(self._open, (replica.running, replica.number))

    def _begin(self, replica: _Replica, job: Job, now: float) -> None:
        job.started_ms, job.replica = now, replica.number
        self._running[job.id] = job
        replica.running += 1
        replica.unread += job.arrival.prompt_tokens
        entry = (replica.tenants[job.tenant], next(self._numbers), job.arrival.prompt_tokens, job)
        heapq.heappush(replica.prompts, entry)
        replica.tenants[job.tenant] += 1
        self._read(replica, now)

    def _read(self, replica: _Replica, now: float) -> None:
        if replica.reading or not replica.prompts:
            return
        replica.reading = True
        priority, number, left, job = heapq.heappop(replica.prompts)
        piece = min(left, _PIECE)
        read_ms = piece / self.machine.prefill_tokens_per_s * 1000
        replica.unread -= piece
        if left > piece:
            heapq.heappush(replica.prompts, (priority, number, left - piece, job))
        else:
            job.first_ms = now + read_ms + self.machine.first_token_ms
            self._at(job.first_ms + (job.arrival.completion_tokens - 1) * self.machine.step_ms, _END, job)
        self._at(now + read_ms, _READ, job)

    def _finish_reading(self, job: Job, now: float) -> None:
        replica = self._replicas[job.replica]
        replica.reading = False
        self._read(replica, now)
        self._ask(replica, now)

    def _end(self, job: Job, now: float) -> None:
        replica = self._replicas[job.replica]
        job.ended_ms = now
        del self._running[job.id]
        replica.running -= 1
        replica.tenants[job.tenant] -= 1
        if not replica.tenants[job.tenant]:
            del replica.tenants[job.tenant]
        self.scheduler.finish(job, now)
        self._ask(replica, now)

    def _charge(self, now: float) -> None:
        step = self.machine.step_ms
        used = {
            name: (job.arrival.prompt_tokens, job.tokens_at(now, step)) for name, job in self._running.items()
        }
        if used:
            self.scheduler.charge(used, now)
        if self.scheduler.express and self.scheduler.others and self.scheduler.waiting:
            self._ask_express(now)
        self._at(now + self.machine.charge_ms, _CHARGE, None)
