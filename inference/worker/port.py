"""The port between a replica and its engine. vLLM, remote and simulated engines stand behind it and pass the same
contract tests (tests/engines/contract.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["chat", "completion", "embedding"]


@dataclass(slots=True)
class Meter:
    """What one request has used so far; true at any moment, so also when the request is cut short."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  # of prompt_tokens, those found in the prefix cache
    completion_tokens: int = 0  # over all choices
    first_token_at: float | None = None  # core.clock.monotonic()
    gpu_prefill_ns: int = 0  # engine time that reading the prompt took; what was cached took none
    gpu_decode_ns: int = 0  # engine time that writing the answer took
    finish_reason: str = ""  # of the last choice that ended


@dataclass(slots=True)
class EngineRequest:
    """One request as the gateway admitted it.

    `body` is the OpenAI request, validated and bounded, with `model` the public name that answers must carry, and
    `stream` as the client asked. `salt` separates tenants' prefix caches. `forced` holds, per choice, the token ids
    that an earlier replica has already produced: the engine regenerates exactly these first (and emits them again),
    then goes on by itself, so that grammar, penalties, stops, seeds and counts are as if nothing had happened.
    """

    id: str
    kind: Kind
    body: dict[str, Any]
    salt: str
    forced: list[list[int]] = field(default_factory=list)
    express: bool = False  # above `capacity`: see Engine.express
    priority: int = 0  # among those that wait inside the engine, a lower one is read first
    meter: Meter = field(default_factory=Meter)

    @property
    def stream(self) -> bool:
        """Whether the client wants chunks."""
        return bool(self.body.get("stream"))


@dataclass(slots=True)
class Chunk:
    """One piece of a stream: `payload` is the JSON of an OpenAI chunk (no SSE framing, never `[DONE]`); `tokens`
    are the ids that the engine produced for it, as (choice index, ids). Either may be empty."""

    payload: bytes
    tokens: list[tuple[int, list[int]]] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """The whole answer of a request that does not stream: JSON of the OpenAI response."""

    payload: bytes


@dataclass(slots=True)
class Failure:
    """The request failed: `status` is the HTTP status, `payload` the JSON of the OpenAI error body."""

    status: int
    payload: bytes


Event = Chunk | Result | Failure


@dataclass(slots=True)
class Counters:
    """Since the engine started: what it runs, has produced, and how long it was busy."""

    running: int = 0
    waiting: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    aborted: int = 0
    busy_s: float = 0.0
    busy_ns: int = 0  # engine time: while at least one step was under way, times the engine's devices
    attributed_ns: int = 0  # of it, what meters of requests have


def express_of(capacity: int) -> int:
    """How many requests an engine of this capacity takes above it: a quarter, at least one."""
    return max(1, capacity // 4)


class EngineDead(RuntimeError):
    """The engine cannot serve any more; the replica must be replaced. Its requests go to another one."""


class Engine(Protocol):
    """One engine of one replica. All methods run on the replica's event loop."""

    capacity: int  # requests that the engine batches at once; more wait in the tenants' queue
    # Requests that it takes above `capacity`, so that a tenant that runs little need not wait for a neighbour's long
    # answers to end (law L9). They come with EngineRequest.express and are begun at once.
    express: int
    # Prompt tokens that may be waiting for their first step inside the engine, where tenants are not told apart any
    # more; 0 where the engine reads prompts without a queue of its own.
    prefill_tokens: int
    can_resume: bool  # honours EngineRequest.forced

    async def start(self) -> None:
        """Load; returns when the first request can be served. Raises with a sentence that says what is wrong."""

    def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """Serve one request: Chunk* for a stream, else one Result; Failure ends either.

        Keeps `request.meter` true all along. Closing the iterator, or cancelling the task that reads it, stops the
        engine's work on the request at once. Raises EngineDead when the engine is gone.
        """

    async def settle(self, request: EngineRequest) -> None:
        """Wait, after `run` has ended in whatever way, until `request.meter` holds everything (a step at most).

        Engines know what a step cost when it is over, and a request may end while its last step is under way.
        """

    async def check_health(self) -> None:
        """Raises EngineDead when the engine no longer serves."""

    def counters(self) -> Counters:
        """Figures for heartbeats and metrics; cheap."""

    async def close(self) -> None:
        """End the engine and everything that it started. Never raises."""
