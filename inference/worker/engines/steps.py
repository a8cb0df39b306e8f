"""Whose work an engine step was: its busy time shared over the tokens that it processed (law L12).

A batch runs every token of a step at once, so each takes an equal part of the step: the prompt tokens that it read
and the tokens that it wrote alike. What the prefix cache held was not processed and costs nothing. All times are
whole nanoseconds of engine time; shares add up to the step exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Key = TypeVar("Key")
# Request, its prompt tokens in this step, its other tokens in this step.
Part = tuple[str, int, int]


def share(busy_ns: int, parts: Sequence[tuple[Key, int, int]]) -> list[tuple[Key, int, int]]:
    """Each request's part of `busy_ns`, for its prompt and for its answer; the parts add up to it exactly.

    Empty when no token was processed. Cost: two divisions per request.
    """
    total = sum(prefill + decode for _, prefill, decode in parts)
    if not total:
        return []
    shares: list[tuple[Key, int, int]] = []
    tokens = given = 0
    for request, prefill, decode in parts:
        before = given
        middle = busy_ns * (tokens + prefill) // total
        tokens += prefill + decode
        given = busy_ns * tokens // total
        shares.append((request, middle - before, given - middle))
    return shares


@dataclass(slots=True)
class Report:
    """What happened since the last report: busy time, its shares, and requests that will get no more."""

    busy_ns: int = 0
    shares: dict[str, tuple[int, int]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.busy_ns or self.shares or self.closed)


class StepMeter:
    """Follows the steps of one engine, of which several may be under way at once (asynchronous scheduling).

    The engine is busy from when a step is being prepared until its result is there. Steps finish in the order in
    which they began; where they overlap, the time up to the earlier one's end is the earlier one's, so that no moment
    is counted twice. `devices` multiplies: a step of an engine on four devices keeps four busy.
    """

    def __init__(self, devices: int = 1) -> None:
        self._devices = devices
        self._under_way: deque[tuple[int, list[Part]]] = deque()
        self._steps_of: dict[str, int] = {}  # request -> steps under way that work on it
        self._leaving: set[str] = set()
        self._last_end_ns = 0
        self._report = Report()

    def begin(self, at_ns: int, parts: list[Part]) -> None:
        """A step that was begun at `at_ns` will process these tokens."""
        self._under_way.append((at_ns, parts))
        steps_of = self._steps_of
        for request, _, _ in parts:
            steps_of[request] = steps_of.get(request, 0) + 1

    def end(self, at_ns: int) -> None:
        """The oldest step that is under way has its result."""
        if not self._under_way:
            return
        begun_ns, parts = self._under_way.popleft()
        busy_ns = max(0, at_ns - max(begun_ns, self._last_end_ns)) * self._devices
        self._last_end_ns = max(self._last_end_ns, at_ns)
        report = self._report
        report.busy_ns += busy_ns
        shares, steps_of = report.shares, self._steps_of
        for request, prefill_ns, decode_ns in share(busy_ns, parts):
            before = shares.get(request)
            if before is not None:
                prefill_ns, decode_ns = prefill_ns + before[0], decode_ns + before[1]
            shares[request] = (prefill_ns, decode_ns)
            steps_of[request] -= 1

    def leave(self, requests: Iterable[str]) -> None:
        """These requests are finished or stopped; steps that are under way may still work on them."""
        self._leaving.update(requests)

    def take(self) -> Report | None:
        """What happened since the last call; None when nothing did."""
        if self._leaving:
            gone = [request for request in self._leaving if not self._steps_of.get(request)]
            for request in gone:
                self._leaving.discard(request)
                self._steps_of.pop(request, None)
            self._report.closed.extend(gone)
        if not self._report:
            return None
        report, self._report = self._report, Report()
        return report
