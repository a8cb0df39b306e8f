"""Traces: who asks for what, and when. Synthetic ones are the same for the same seed; recorded ones are JSON Lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

MOST_TOKENS = 1_000_000


class Arrival(msgspec.Struct, frozen=True):
    """One request. Its line in a recorded trace: `{"at_ms": 0, "tenant": "a", "prompt_tokens": 9, …}`."""

    at_ms: float
    tenant: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in the order of their time, and the weights of tenants that have another than 1."""

    arrivals: list[Arrival]
    seconds: float
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def tenants(self) -> list[str]:
        """Everybody who asks for something, by name."""
        return sorted({arrival.tenant for arrival in self.arrivals})

    def only(self, tenant: str) -> Trace:
        """The same without the others."""
        return Trace([one for one in self.arrivals if one.tenant == tenant], self.seconds, self.weights)


def recorded(path: Path, weights: dict[str, float] | None = None) -> Trace:
    """A trace from a file of JSON Lines. Raises ValueError that names the line which is wrong."""
    found: list[Arrival] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                one = msgspec.json.decode(line, type=Arrival)
            except msgspec.DecodeError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
            if one.at_ms < 0 or not (
                0 < one.prompt_tokens <= MOST_TOKENS and 0 < one.completion_tokens <= MOST_TOKENS
            ):
                raise ValueError(f"{path}:{number}: times and token counts must be above 0")
            found.append(one)
    found.sort(key=lambda one: one.at_ms)
    seconds = found[-1].at_ms / 1000 if found else 0.0
    return Trace(found, max(1.0, seconds), weights or {})


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a synthetic trace. `rate` is requests per second of all tenants together."""

    tenants: int
    seconds: float
    rate: float
    prompt: int = 512
    completion: int = 256
    seed: int = 1


def poisson(shape: Shape) -> Trace:
    """Every tenant at the same rate, lengths around the mean."""
    random_ = random.Random(shape.seed)  # noqa: S311 - a simulation
    return _trace(shape, _steady(shape, random_, _names(shape.tenants), shape.rate))


def bursty(shape: Shape) -> Trace:
    """Every tenant is quiet most of the time and sends six times as much for ten seconds of each minute."""
    random_ = random.Random(shape.seed)  # noqa: S311 - a simulation
    found = []
    for name in _names(shape.tenants):
        begin = random_.uniform(0, 60)
        for one in _steady(shape, random_, [name], 6 * shape.rate / shape.tenants):
            if (one.at_ms / 1000 - begin) % 60 < 10:
                found.append(one)
    return _trace(shape, iter(found))


def heavy_tail(shape: Shape) -> Trace:
    """Few tenants send most, and few requests are most of the tokens (Pareto, bounded at thirty times the mean)."""
    random_ = random.Random(shape.seed)  # noqa: S311 - a simulation
    names = _names(shape.tenants)
    sizes = [random_.paretovariate(1.2) for _ in names]
    found: list[Arrival] = []
    for name, size in zip(names, sizes, strict=True):
        found += _steady(shape, random_, [name], shape.rate * size / sum(sizes), tail=True)
    return _trace(shape, iter(found))


def flood(shape: Shape) -> Trace:
    """One tenant sends `rate` long requests a second; the others send short ones, a fiftieth of `rate` together."""
    random_ = random.Random(shape.seed)  # noqa: S311 - a simulation
    names = _names(shape.tenants)
    short = Shape(
        shape.tenants, shape.seconds, shape.rate / 50, shape.prompt // 4, shape.completion // 4, shape.seed
    )
    found = [
        *_steady(shape, random_, ["flood"], shape.rate),
        *_steady(short, random_, names[: shape.tenants - 1], short.rate),
    ]
    return _trace(shape, iter(found))


KINDS = {"poisson": poisson, "bursty": bursty, "heavy-tail": heavy_tail, "flood": flood}


def _names(tenants: int) -> list[str]:
    return [f"tenant-{number:05d}" for number in range(tenants)]


def _steady(
    shape: Shape, random_: random.Random, names: list[str], rate: float, *, tail: bool = False
) -> Iterator[Arrival]:
    at = 0.0
    while names and rate > 0:
        at += random_.expovariate(rate)
        if at >= shape.seconds:
            return
        if tail:
            prompt, completion = (
                round(min(30.0, random_.paretovariate(1.5) / 3) * mean)
                for mean in (shape.prompt, shape.completion)
            )
        else:
            prompt, completion = (
                round(mean * random_.uniform(0.5, 1.5)) for mean in (shape.prompt, shape.completion)
            )
        yield Arrival(at * 1000, random_.choice(names), max(1, prompt), max(1, completion))


def _trace(shape: Shape, arrivals: Iterator[Arrival]) -> Trace:
    return Trace(sorted(arrivals, key=lambda one: one.at_ms), shape.seconds)
