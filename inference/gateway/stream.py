"""One request in flight, as its web process sees it: frames come in, pieces go out, each once and in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from core import clock
from inference.gateway.delivered import Delivered
from inference.gateway.errors import Rejected
from inference.gateway.shield import FILTERED
from inference.queue.wire import CHUNK, DONE, FAILURE, RESULT, STARTED, Frame, Ticket
from safety.faults import CheckerFailed
from safety.refusals import unavailable as unchecked

if TYPE_CHECKING:
    from inference.admission.client import Admitted
    from inference.call_logs.recorder import Recording
    from inference.gateway.callers import Caller
    from inference.gateway.gateway import Gateway
    from inference.gateway.shield import Shield

# What may wait for a slow reader before the request is given up, bytes.
BUFFER_BYTES = 2 * 1024 * 1024
MAX_ATTEMPTS = 4
# A lost replica is noticed at most so long after its last heartbeat (see `watch`), seconds.
NOTICED_S = 5.0


@dataclass(slots=True)
class Piece:
    """A chunk on its way to the client: JSON of an OpenAI chunk, and the token ids behind it per choice."""

    payload: bytes
    tokens: list[tuple[int, list[int]]] = field(default_factory=list)


class Stream:
    """An admitted request. Iterate it, or await `result()`; `close()` it in every case.

    Raises Rejected from `batch`, iteration and `result` when the request fails; once.
    """

    def __init__(self, gateway: Gateway, caller: Caller, ticket: Ticket, *, resumable: bool) -> None:
        self._gateway = gateway
        self.caller = caller
        self.ticket = ticket
        self.admitted: Admitted | None = None  # what is held for it while it runs
        self.rate_headers: Sequence[tuple[bytes, bytes]] = ()
        self.resumable = resumable
        self.replica = ""
        self.queue_ms = 0
        self.started_at = clock.monotonic()
        self.last_news_at = self.started_at
        self.first_piece_at: float | None = None
        self.queued = False  # until then nobody else knows of it, and nothing is missing
        self.waiting_for_replica = True
        self.lost_at: float | None = None  # since when the client waits for another replica to go on
        self.finished = False  # the last piece has come, or the error
        self.accounted = False  # a replica has written the usage record
        self.recording: Recording | None = None  # what the call log wants to know, once it is queued
        self.was_cut = False  # the surface left before the end
        self._closed = False
        self._delivered = Delivered()
        self._resumed = False
        self._next_seq = 0
        self._broken = False
        self._pieces: deque[Piece] = deque()
        self._buffered = 0
        self._result: bytes | None = None
        self._error: Rejected | None = None
        self._news = asyncio.Event()
        self._tokens: dict[int, list[int]] = {}
        self._known: dict[int, list[int]] = {}
        self._held: list[
            tuple[int, list[int]]
        ] = []  # tokens whose text the client had already, or has to wait for
        self._shield: Shield | None = None  # what the answer passes
        self._is_whole = False  # a whole answer has passed it

    def enqueued(self) -> None:
        """It stands in the queue: from now on it is watched."""
        self.queued = True
        self.last_news_at = clock.monotonic()

    def record(self, recording: Recording) -> None:
        """Let the call log hear what the answer says."""
        self.recording = recording
        if recording.is_kept:
            self._delivered.hears = recording.heard.add

    def guard(self, shield: Shield) -> None:
        """Have all that the answer says pass `shield`; the call log hears what leaves."""
        self._shield = shield
        shield.hears, self._delivered.hears = self._delivered.hears, None

    @property
    def error(self) -> Rejected | None:
        """How it failed, if it did."""
        return self._error

    @property
    def whole_answer(self) -> bytes | None:
        """The JSON of an answer that came whole, as it left; None of a stream, and before that."""
        return self._result if self._shield is None or self._is_whole else None

    @property
    def finish_reason(self) -> str:
        """Why the model stopped, as a streamed answer's last chunk said; "" before."""
        return (self._shield.finish_reason if self._shield else "") or self._delivered.finish_reason

    @property
    def request_id(self) -> str:
        """The id that the client, the logs and the usage record share."""
        return self.ticket.id

    @property
    def was_abandoned(self) -> bool:
        """True when the surface gave the request up before its end: the client has left."""
        return self._closed

    # --- What the surface calls

    async def batch(self, wait_s: float | None = None) -> list[Piece] | None:
        """All pieces that are there, waiting for the first; an empty list ends the stream.

        Returns None when `wait_s` seconds have brought nothing. One timer, no task: cheap enough for every piece.
        """
        deadline = None if wait_s is None else clock.monotonic() + wait_s
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.finished:
                return []
            if deadline is not None and clock.monotonic() >= deadline:
                return None
            await self._wait(deadline)
        pieces = list(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        return pieces

    async def __aiter__(self) -> AsyncIterator[Piece]:
        while pieces := await self.batch():
            for piece in pieces:
                yield piece

    async def result(self) -> bytes:
        """The JSON of the whole answer, for requests that do not stream."""
        while self._result is None or not self.finished:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise ConnectionResetError("the client has left")
            await self._wait(None)
        if self._shield is not None and not self._is_whole:
            self._result = await self._gateway.safety.pass_out(self, self._shield, self._result)
            self._is_whole = True
        return self._result

    async def _wait(self, deadline: float | None) -> None:
        self._news.clear()
        if deadline is None:
            await self._news.wait()
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, deadline - clock.monotonic()), self._news.set)
        try:
            await self._news.wait()
        finally:
            timer.cancel()

    def interrupt(self, error: Rejected) -> None:
        """End the request with an error: a tenant suspended, a deadline passed. The engine is told to stop."""
        if self.finished:
            return
        self._fail(error)
        self._gateway.stop(self, outcome="failed", code=error.code)

    async def close(self) -> None:
        """Done with it. If the answer has not ended, the engine stops within a second and usage is recorded."""
        self.abandon()

    def abandon(self) -> None:
        """As `close`, from code that cannot await."""
        if self._closed:
            return
        self._closed = True
        if not self.finished:
            self.finished = self.was_cut = True
            self._news.set()
            self._gateway.stop(self, outcome="cancelled", code="client_gone")
        self._gateway.release(self)

    # --- What the gateway's reader calls

    def feed(self, frame: Frame) -> None:
        """Take one frame. Old attempts, repeats and what comes after the end are ignored; a gap begins again."""
        if frame.attempt != self.ticket.attempt or self.finished:
            if frame.kind == DONE:
                self.accounted = True
            return
        if frame.seq != self._next_seq:
            if frame.seq > self._next_seq and not self._broken:
                self._broken = True
                self._gateway.lost_frames(self)
            return
        self._next_seq += 1
        self.last_news_at = clock.monotonic()
        if frame.kind == CHUNK:
            self._chunk(frame)
        elif frame.kind == STARTED:
            self.waiting_for_replica = False
            started = msgspec.json.decode(frame.payload)
            self.replica, self.queue_ms = started["replica"], started["queue_ms"]
            if not self.ticket.body.get("stream"):
                self.lost_at = None
        elif frame.kind == RESULT:
            self._result = frame.payload
            self.first_piece_at = self.last_news_at
        elif frame.kind == FAILURE:
            self._fail(Rejected.from_body(frame.status, frame.payload))
            self.accounted = True
            self._gateway.ended(self)
        elif frame.kind == DONE:
            self.finished = True
            self.accounted = True
            # Before the client reads the end: it may send the next request at once.
            self._gateway.ended(self)
        self._news.set()

    def _chunk(self, frame: Frame) -> None:
        tokens: list[tuple[int, list[int]]] = frame.tokens
        payload: bytes | None = frame.payload
        if self._resumed:
            tokens, payload = self._held + self._unseen(tokens), self._delivered.trim(frame.payload)
        else:
            self._delivered.note(frame.payload)
        for index, ids in frame.tokens:
            self._tokens.setdefault(index, []).extend(ids)
        if self._shield is not None and payload is not None:
            if self._held and not self._resumed:
                tokens = self._held + tokens
            payload = self._shielded(self._shield, payload)
        self._held = tokens if payload is None else []
        if payload is None:
            return
        self.lost_at = None
        if self.first_piece_at is None:
            self.first_piece_at = self.last_news_at
        self._pieces.append(Piece(payload, tokens))
        self._buffered += len(payload)
        if self._shield is not None and self._shield.refused:
            self._end_refused(self._shield)
        elif self._buffered > BUFFER_BYTES:
            self.interrupt(
                Rejected(408, "slow_reader", "The answer was not read fast enough.", kind="server_error")
            )

    def _shielded(self, shield: Shield, payload: bytes) -> bytes | None:
        """What leaves of a chunk; the request ends where a checker fails and nothing may pass unchecked (L22)."""
        try:
            return shield.chunk(payload)
        except CheckerFailed as error:
            if self._gateway.safety.may_pass(shield.guarded, error):
                self._shield = None
                return payload
            self.interrupt(Rejected(503, "safety_unavailable", unchecked(shield.guarded)))
            return None

    def _end_refused(self, shield: Shield) -> None:
        """No choice says any more: the answer ends here, and the engine need not go on."""
        options = self.ticket.body.get("stream_options") or {}
        if options.get("include_usage"):
            self._pieces.append(Piece(self._usage_chunk()))
        self.finished = True
        self._gateway.stop(self, outcome="completed", code=FILTERED)
        self._gateway.safety.review(self, shield)

    def _usage_chunk(self) -> bytes:
        """The chunk that says what was used, as far as it is known here."""
        last = msgspec.json.decode(self._pieces[-1].payload)
        given, made = self.ticket.prompt_tokens, self.completion_tokens()
        usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        return msgspec.json.encode({**last, "choices": [], "usage": usage})

    def _unseen(self, tokens: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
        """Of a frame's tokens, those that no earlier attempt brought: a new one says all from the first again."""
        unseen = []
        for index, ids in tokens:
            fresh = ids[max(0, len(self._known.get(index, ())) - len(self._tokens.get(index, ()))) :]
            if fresh:
                unseen.append((index, fresh))
        return unseen

    def _fail(self, error: Rejected) -> None:
        self._error = error
        self.finished = True
        self._news.set()

    # --- Beginning again on another replica

    def can_begin_again(self) -> bool:
        """Whether another replica can go on where this one stopped."""
        if self.ticket.attempt + 1 >= MAX_ATTEMPTS:
            return False
        return self.resumable or not self._delivered.anything

    def begin_again(self) -> Ticket:
        """The ticket for the next attempt: the same request, with every token that is known so far forced."""
        for index, ids in self._tokens.items():
            if len(ids) > len(self._known.get(index, ())):
                self._known[index] = ids
        if self.lost_at is None:
            self.lost_at = max(self.last_news_at, clock.monotonic() - NOTICED_S)
        self._tokens = {}
        self._next_seq = 0
        self._broken = False
        self._resumed = True
        self._delivered.begin_again()
        self.waiting_for_replica = True
        forced = [self._known.get(index, []) for index in range(max(self._known, default=-1) + 1)]
        if not any(forced):
            forced = self.ticket.forced
        self.ticket = msgspec.structs.replace(self.ticket, attempt=self.ticket.attempt + 1, forced=forced)
        return self.ticket

    def completion_tokens(self) -> int:
        """Tokens that have arrived, over all choices and the best attempt."""
        indexes = set(self._tokens) | set(self._known)
        return sum(max(len(self._tokens.get(i, ())), len(self._known.get(i, ()))) for i in indexes)
