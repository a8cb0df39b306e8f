"""Whose work an engine step was: its busy time shared over the tokens that it processed (law L12).

A batch runs every token of a step at once, so each takes an equal part of the step: the prompt tokens that it read
and the tokens that it wrote alike. What the prefix cache held was not processed and costs nothing. All times are
whole nanoseconds of engine time; shares add up to the step exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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


# One step: its engine time, and whose tokens it processed; None for exactly those of the step before.
Step = tuple[int, list[Part] | None]


@dataclass(slots=True)
class Report:
    """What happened since the last report: the steps, and requests that will get no more."""

    steps: list[Step] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.steps or self.closed)


class StepMeter:
    """Follows the steps of one engine, of which several may be under way at once (asynchronous scheduling).

    The engine is busy from when a step is being prepared until its result is there. Steps finish in the order in
    which they began; where they overlap, the time up to the earlier one's end is the earlier one's, so that no moment
    is counted twice. `devices` multiplies: a step of an engine on four devices keeps four busy. Cost: this runs
    between the engine's steps, so it only notes what happened; `StepReader` does the sums elsewhere.
    """

    def __init__(self, devices: int = 1) -> None:
        self._devices = devices
        self._under_way: deque[tuple[int, list[Part]]] = deque()
        self._leaving: set[str] = set()
        self._last_end_ns = 0
        self._last_parts: list[Part] | None = None
        self._report = Report()

    def begin(self, at_ns: int, parts: list[Part]) -> None:
        """A step that was begun at `at_ns` will process these tokens."""
        self._under_way.append((at_ns, parts))

    def end(self, at_ns: int) -> None:
        """The oldest step that is under way has its result."""
        if not self._under_way:
            return
        begun_ns, parts = self._under_way.popleft()
        busy_ns = max(0, at_ns - max(begun_ns, self._last_end_ns)) * self._devices
        self._last_end_ns = max(self._last_end_ns, at_ns)
        # While answers are being written, one step is like the other.
        self._report.steps.append((busy_ns, None if parts == self._last_parts else parts))
        self._last_parts = parts

    def leave(self, requests: Iterable[str]) -> None:
        """These requests are finished or stopped; steps that are under way may still work on them."""
        self._leaving.update(requests)

    def take(self) -> Report | None:
        """What happened since the last call; None when nothing did."""
        if self._leaving:
            worked_on = {request for _, parts in self._under_way for request, _, _ in parts}
            self._report.closed.extend(self._leaving - worked_on)
            self._leaving &= worked_on
        if not self._report:
            return None
        report, self._report = self._report, Report()
        return report


class StepReader:
    """Makes shares out of a meter's reports, all of which it must see, in order."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def read(self, steps: Iterable[Step]) -> Iterator[tuple[int, list[tuple[str, int, int]]]]:
        """Each step's engine time and its shares."""
        for busy_ns, parts in steps:
            if parts is not None:
                self._parts = parts
            yield busy_ns, share(busy_ns, self._parts)
