"""SimulatedEngine: programmed token counts, rates and faults, for load tests and drills.

It batches like a real engine: one step advances every running request by one token per choice, then the loop
is free for whoever reads. Nothing is random: the same body gives the same tokens, the same request id the
same fate.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from core import clock
from inference.worker.engines import simulated_answers as answers
from inference.worker.engines import wire
from inference.worker.engines.steps import share
from inference.worker.port import (
    Chunk,
    Counters,
    EngineDead,
    EngineRequest,
    Event,
    Failure,
    Result,
    express_of,
)

SEED_TEXT = (
    "Atrium is one hall with private rooms: many tenants share a pool of models, each behind its own walls. "
    "Nothing here was thought by a model; a program reads these words aloud, one token at a time. "
    "每个租户都有自己的密钥、模型、限额、数据和账单。 "
    "The walls hold when the hall is full, and the bill says what was used."
)

_Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class SimulatedArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The programme. A count of 0 in `stall_after` or `die_after` means never."""

    tokens: _Count = 64  # per choice; never above what the request allows
    first_token_ms: Annotated[float, msgspec.Meta(ge=0, le=3_600_000)] = 0.0
    tokens_per_s: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 0.0  # per choice; 0: as fast as it can
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000_000)] = SEED_TEXT
    fail_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = (
        0.0  # share of requests that fail before any token
    )
    stall_after: _Count = 0  # tokens of one choice, after which its request hangs
    die_after: _Count = 0  # tokens of one choice, after which the whole engine is dead
    embedding_dimensions: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 384
    context_length: _Count = 0  # tokens of prompt and answer together; 0: any
    capacity: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 256


class _Work:
    """One request in the engine."""

    __slots__ = (
        "choices", "done", "error", "frames", "outbox", "ready_at", "request", "stalled", "tails", "unread", "waiter",
    )  # fmt: skip

    def __init__(self, request: EngineRequest, choices: list[answers.Choice]) -> None:
        self.request = request
        self.choices = choices
        self.outbox: list[Event] = []
        self.waiter: asyncio.Future[None] | None = None
        self.error: EngineDead | None = None
        self.done = False
        self.stalled = False
        self.ready_at = 0.0
        self.unread = 0  # prompt tokens that no step has processed
        self.frames = wire.StreamFrames(request) if request.stream and choices else None
        self.tails = [self.frames.content(choice.index) for choice in choices] if self.frames else []

    def wake(self) -> None:
        """Let the reader go on."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class SimulatedEngine:
    """The engine port without a model. `args` as in SimulatedArgs; raises ValueError when they make no
    sense."""

    can_resume = True

    def __init__(self, args: dict[str, Any]) -> None:
        try:
            self.args = msgspec.convert(args, SimulatedArgs)
        except msgspec.ValidationError as error:
            raise ValueError(f"Arguments of the simulated engine: {error}.") from error
        self.capacity = self.args.capacity
        self.express = express_of(self.capacity)
        self.prefill_tokens = 0
        self._vocabulary = answers.Vocabulary(self.args.text)
        self._interval = 1.0 / self.args.tokens_per_s if self.args.tokens_per_s else 0.0
        self._running: dict[_Work, None] = {}
        self._waiting: deque[_Work] = deque()
        self._arrival = asyncio.Event()
        self._due = 0.0  # when the next step may be taken (monotonic)
        self._stepping = False  # whether the last step produced anything
        self._busy_since: int | None = None  # ns; up to then, busy time is shared out
        self._counters = Counters()
        self._dead = "The engine has not been started."
        self._driver: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ready at once."""
        self._dead = ""
        self._driver = asyncio.create_task(self._drive(), name="simulated-engine")

    async def run(self, request: EngineRequest) -> AsyncIterator[Event]:
        """See the port. Costs about 5 µs per token with its chunk."""
        self._raise_if_dead()
        refusal = self._refusal(request)
        if refusal is not None:
            yield refusal
            return
        work = self._admit(request)
        try:
            while True:
                if not work.outbox:
                    if work.done:
                        return
                    if work.error is not None:
                        raise work.error
                    work.waiter = asyncio.get_running_loop().create_future()
                    await work.waiter
                events, work.outbox = work.outbox, []
                for event in events:
                    yield event
        finally:
            self._leave(work)

    async def check_health(self) -> None:
        """Raises EngineDead after a programmed death, and when the engine is not running."""
        self._raise_if_dead()

    def counters(self) -> Counters:
        """Figures so far. Busy is the time in which at least one request ran, hung ones included."""
        figures = self._counters
        busy_ns = figures.busy_ns
        if self._busy_since is not None:
            busy_ns += _now_ns() - self._busy_since
        return Counters(
            running=len(self._running),
            waiting=len(self._waiting),
            prompt_tokens=figures.prompt_tokens,
            completion_tokens=figures.completion_tokens,
            aborted=figures.aborted,
            busy_s=busy_ns / 1e9,
            busy_ns=busy_ns,
            attributed_ns=figures.attributed_ns,
        )

    async def settle(self, request: EngineRequest) -> None:
        """Nothing to wait for: a request leaves with its share."""

    async def close(self) -> None:
        """End the step loop; what still runs ends with EngineDead."""
        self._die("The engine has been closed.")
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.cancel()
            await asyncio.gather(driver, return_exceptions=True)

    # --- Admission ------------------------------------------------------------------------------------------

    def _raise_if_dead(self) -> None:
        if self._dead:
            raise EngineDead(self._dead)

    def _refusal(self, request: EngineRequest) -> Failure | None:
        args = self.args
        prompts = answers.prompts(request)
        if not prompts:
            return wire.failure(400, "There is nothing to answer.", code="empty_prompt")
        longest = _longest(prompts)
        if args.context_length and longest >= args.context_length:
            message = (
                f"The prompt has {longest} tokens; this model's context length is {args.context_length}."
            )
            return wire.failure(400, message, code="context_length_exceeded")
        dimensions = request.body.get("dimensions") or args.embedding_dimensions
        if request.kind == "embedding" and not 1 <= dimensions <= args.embedding_dimensions:
            message = f"This model has {args.embedding_dimensions} dimensions."
            return wire.failure(400, message, code="invalid_value", param="dimensions")
        if args.fail_rate:
            fate = int.from_bytes(hashlib.blake2b(request.id.encode(), digest_size=4).digest()) / 2**32
            if fate < args.fail_rate:
                return wire.failure(500, "The simulated engine fails, as programmed.", code="engine_error")
        return None

    def _admit(self, request: EngineRequest) -> _Work:
        choices = []
        if request.kind != "embedding":
            limit = wire.token_limit(request.body)
            if self.args.context_length:
                room = self.args.context_length - _longest(answers.prompts(request))
                limit = room if limit is None else min(limit, room)
            choices = answers.choices(request, self._vocabulary, self.args.tokens, limit)
        work = _Work(request, choices)
        if len(self._running) < self.capacity or request.express:
            self._begin(work)
        else:
            self._waiting.append(work)
        return work

    def _begin(self, work: _Work) -> None:
        now = clock.monotonic()
        work.ready_at = now + self.args.first_token_ms / 1000.0
        tokens = sum(answers.prompt_tokens(prompt) for prompt in answers.prompts(work.request))
        work.request.meter.prompt_tokens = work.unread = tokens
        self._counters.prompt_tokens += tokens
        self._running[work] = None
        if self._busy_since is None:
            self._busy_since = _now_ns()
        self._arrival.set()

    def _leave(self, work: _Work) -> None:
        """The reader is gone: nothing more is produced for the request."""
        if work in self._running:
            self._share([_part(other) for other in self._running])
            self._retire(work)
            self._rest()
        elif work in self._waiting:
            self._waiting.remove(work)
        if not work.done and work.error is None:
            self._counters.aborted += 1

    def _retire(self, work: _Work) -> None:
        del self._running[work]
        while self._waiting and len(self._running) < self.capacity:
            self._begin(self._waiting.popleft())

    def _die(self, reason: str) -> None:
        self._dead = reason
        self._share([_part(work) for work in self._running])
        for work in (*self._running, *self._waiting):
            work.error = EngineDead(reason)
            work.wake()
        self._waiting.clear()
        for work in tuple(self._running):
            self._retire(work)
        self._rest()

    # --- Engine time ----------------------------------------------------------------------------------------

    def _share(self, parts: list[tuple[_Work, int, int]]) -> None:
        """Share the time since the last call over the tokens of `parts`, as a step of an engine is (L12)."""
        if self._busy_since is None:
            return
        now_ns = _now_ns()
        busy_ns, self._busy_since = now_ns - self._busy_since, now_ns
        figures = self._counters
        figures.busy_ns += busy_ns
        for work, prefill_ns, decode_ns in share(busy_ns, parts):
            meter = work.request.meter
            meter.gpu_prefill_ns += prefill_ns
            meter.gpu_decode_ns += decode_ns
            figures.attributed_ns += prefill_ns + decode_ns

    def _rest(self) -> None:
        """Without requests the engine is not busy."""
        if not self._running:
            self._busy_since = None

    # --- Steps ----------------------------------------------------------------------------------------------

    async def _drive(self) -> None:
        """Step for ever. An error of our own ends the engine, never hangs its readers."""
        try:
            while not self._dead:
                pause = self._step()
                if pause is None:
                    self._stepping = False
                    self._arrival.clear()
                    await self._arrival.wait()
                else:
                    await asyncio.sleep(pause)
        except Exception as error:
            self._die(f"The engine's loop failed: {error!r}.")
            raise

    def _step(self) -> float | None:
        """Advance every running request that is ready. Returns the seconds until there can be more to do, or
        None when only an arrival can change anything."""
        now = clock.monotonic()
        if now < self._due:
            return self._due - now if self._running else None
        moved = False
        soonest: float | None = None
        parts: list[tuple[_Work, int, int]] = []
        for work in tuple(self._running):
            if work.stalled:
                continue
            if work.ready_at > now:
                soonest = work.ready_at if soonest is None else min(soonest, work.ready_at)
                continue
            moved = True
            unread, before = work.unread, work.request.meter.completion_tokens
            work.unread = 0
            complete = self._advance(work)
            produced = work.request.meter.completion_tokens - before
            parts.append((work, unread, produced if unread else max(1, produced)))
            if complete:
                work.done = True
                self._retire(work)
            if work.outbox:
                work.wake()
            if self._dead:
                return None
        if moved:
            self._share(parts)
            self._rest()
            # From the due time, not from now: the rate holds although timers come late, up to a second of
            # backlog. After a pause there is no backlog.
            base = self._due if self._stepping else now
            self._due = max(base + self._interval, now - 1.0) if self._interval else now
            self._stepping = True
            return max(0.0, self._due - now)
        self._stepping = False
        return None if soonest is None else soonest - now

    def _advance(self, work: _Work) -> bool:
        """One token for each open choice; True when the request is complete."""
        request = work.request
        meter = request.meter
        if meter.first_token_at is None:
            meter.first_token_at = clock.monotonic()
            if work.frames is not None:
                self._open(work)
        if request.kind == "embedding":
            work.outbox.append(self._embed(request))
            return True
        produced = 0
        complete = True
        for choice in work.choices:
            if choice.produced < choice.limit and not choice.finish:
                token, text = choice.advance()
                produced += 1
                if work.frames is None:
                    choice.text.append(text)
                else:
                    head, tail = work.tails[choice.index]
                    work.outbox.append(Chunk(head + text + tail if text else b"", [(choice.index, [token])]))
                if choice.finish:
                    self._finish(work, choice)
                else:
                    complete = False
        meter.completion_tokens += produced
        self._counters.completion_tokens += produced
        if complete:
            self._conclude(work)
            return True
        self._strike(work)
        return False

    def _open(self, work: _Work) -> None:
        """What a stream begins with: the role, or the echoed prompt; and the end of choices without any
        token."""
        frames = work.frames
        assert frames is not None  # noqa: S101 - the caller asked; for the type checker
        for choice in work.choices:
            if work.request.kind == "chat":
                work.outbox.append(Chunk(frames.role(choice.index)))
            head, tail = work.tails[choice.index]
            work.outbox.extend(Chunk(head + text + tail) for text in choice.text)
            if choice.finish:
                self._finish(work, choice)

    def _finish(self, work: _Work, choice: answers.Choice) -> None:
        work.request.meter.finish_reason = choice.finish
        if work.frames is not None:
            work.outbox.append(Chunk(work.frames.finish(choice.index, choice.finish)))

    def _conclude(self, work: _Work) -> None:
        """The usage at the end of a stream, or the whole answer."""
        request = work.request
        meter = request.meter
        figures = wire.usage(meter.prompt_tokens, meter.completion_tokens)
        if work.frames is not None:
            if wire.include_usage(request.body):
                work.outbox.append(Chunk(work.frames.usage(figures)))
            return
        parts = []
        for choice in work.choices:
            text = msgspec.Raw(b'"' + b"".join(choice.text) + b'"')
            answer: dict[str, Any] = {"index": choice.index, "logprobs": None, "finish_reason": choice.finish}
            if request.kind == "chat":
                answer["message"] = {"role": "assistant", "content": text}
            else:
                answer["text"] = text
            parts.append(answer)
        work.outbox.append(Result(wire.completed(request, parts, figures)))

    def _embed(self, request: EngineRequest) -> Result:
        prompts = answers.prompts(request)
        size = self.args.embedding_dimensions
        dimensions = request.body.get("dimensions") or size
        vectors = [answers.embedding(prompt, size, dimensions) for prompt in prompts]
        request.meter.finish_reason = "stop"
        if request.body.get("encoding_format") == "base64":
            packed = [answers.packed(vector) for vector in vectors]
            return Result(wire.embedded(request, packed, request.meter.prompt_tokens))
        return Result(wire.embedded(request, vectors, request.meter.prompt_tokens))

    def _strike(self, work: _Work) -> None:
        """The programmed faults. They count tokens that the engine chose itself, so that a drill of resuming
        gets further with each replica instead of dying for ever at the same token."""
        args = self.args
        if not args.stall_after and not args.die_after:
            return
        generated = max(choice.generated for choice in work.choices)
        if args.die_after and generated >= args.die_after:
            self._die("The simulated engine dies, as programmed.")
        elif args.stall_after and generated >= args.stall_after:
            work.stalled = True


def _now_ns() -> int:
    return int(clock.monotonic() * 1_000_000_000)


def _part(work: _Work) -> tuple[_Work, int, int]:
    """What the engine is busy with for a request between two steps: its prompt, or one token of each open choice."""
    if work.unread or not work.choices:
        return (work, max(1, work.unread), 0)
    return (work, 0, max(1, sum(not choice.finish for choice in work.choices)))


def _longest(prompts: list[Any]) -> int:
    return max(answers.prompt_tokens(prompt) for prompt in prompts)
