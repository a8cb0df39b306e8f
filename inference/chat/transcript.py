"""One answer on its way: read from the engine's stream, kept in Valkey, and only then shown to the client.

The stream of a continued answer begins again at its first character (the gateway's `resume_from`). What is
known already is compared and dropped by position, so that text is neither lost nor repeated (L3), wherever it
was cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import structlog
from redis.exceptions import RedisError

from core import clock
from inference.chat.partials import LEASE_RENEW_S, Lost, Partial, PartialStore

if TYPE_CHECKING:
    from inference.gateway import Stream

log = structlog.get_logger(__name__)

FLUSH_S = 0.05
# How long text waits for a Valkey that is away before the answer is given up.
STORE_PATIENCE_S = 15.0

Deliver = Callable[[int, str], Awaitable[None]]


class Diverged(Exception):
    """The stream that should continue an answer says something else than what is on the reader's screen."""


class End(StrEnum):
    """Why the writing ended, when nothing failed."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Chunk)


class Transcript:
    """Writes one answer; `text` and `tokens` are what is safely kept of it at any moment."""

    def __init__(
        self,
        *,
        store: PartialStore,
        tenant_id: UUID,
        message_id: UUID,
        writer: UUID,
        known: Partial,
        deliver: Deliver,
    ) -> None:
        self.text = known.text
        self.tokens = list(known.tokens)
        self.finish_reason = ""
        self.usage: dict[str, Any] = {}
        self._store = store
        self._place = (tenant_id, message_id, writer)
        self._next_batch = known.next_batch
        self._is_stored = known.is_stored
        self._deliver = deliver
        # How much is known from before, and how much this stream has said: characters and tokens from the
        # beginning.
        self._known, self._known_tokens = len(known.text), len(known.tokens)
        self._heard, self._heard_tokens = 0, 0
        self._unkept: list[str] = []
        self._unkept_tokens: list[int] = []
        self._new = asyncio.Event()
        self._end: End | None = None
        self._source_ended = False
        self._failure: Exception | None = None
        self._reader: asyncio.Task[None] | None = None
        self._begun_at = clock.monotonic()
        self._first_at: float | None = None
        self._last_at = self._begun_at
        self._new_tokens = 0

    def end(self, how: End) -> None:
        """Stop the engine now and wind up; what has been produced is still kept and shown. Idempotent."""
        if self._end is None:
            self._end = how
        if self._reader is not None and not self._source_ended:
            self._reader.cancel()
        self._new.set()

    async def write(self, stream: Stream) -> End:
        """Bring `stream` to the reader until it ends or `end` is called. The stream is closed in any case.

        Raises what the stream raises (Rejected), Fenced, Diverged, and RedisError when Valkey stays away.
        """
        self._begun_at = clock.monotonic()
        try:
            if self._end is None:
                self._reader = asyncio.create_task(self._read(stream))
                self._reader.add_done_callback(self._source_is_over)
                await self._show()
        finally:
            if self._reader is not None and not self._source_ended:
                self._reader.cancel()
                await asyncio.wait([self._reader])
            await stream.close()
        if self._end is not None:
            return self._end
        if self._failure is not None:
            raise self._failure
        if self._heard < self._known:
            raise Diverged
        return End.COMPLETE

    def timing(self) -> dict[str, Any]:
        """Milliseconds to the first token and over all, tokens per second from the first token on."""
        took = self._last_at - self._begun_at
        timing: dict[str, Any] = {"duration_ms": round(took * 1000)}
        if self._first_at is not None:
            timing["first_token_ms"] = round((self._first_at - self._begun_at) * 1000)
            writing = self._last_at - self._first_at
            if self._new_tokens > 1 and writing > 0:
                timing["tokens_per_s"] = round((self._new_tokens - 1) / writing, 1)
        return timing

    async def _read(self, stream: Stream) -> None:
        try:
            async for piece in stream:
                self._take(piece.payload, piece.tokens)
        except Exception as error:  # handed to `write`, which ends the answer with it
            self._failure = error
        finally:
            # Here already, so that a reader too slow to be shown the rest does not keep the engine busy.
            await stream.close()

    def _source_is_over(self, _: asyncio.Task[None]) -> None:
        self._source_ended = True
        self._new.set()

    def _take(self, payload: bytes, tokens: list[tuple[int, list[int]]]) -> None:
        ids = [token for choice, piece in tokens if choice == 0 for token in piece]
        self._take_tokens(ids)
        if not payload:
            return
        chunk = _decoder.decode(payload)
        if chunk.usage:
            self.usage = chunk.usage
        for choice in chunk.choices:
            if choice.index == 0:
                self.finish_reason = choice.finish_reason or self.finish_reason
                if choice.delta is not None and choice.delta.content:
                    # PostgreSQL cannot keep NUL; as one character for another, positions stay as they are.
                    self._take_text(choice.delta.content.replace("\x00", "\ufffd"))
        if self._unkept or self._unkept_tokens:
            self._last_at = clock.monotonic()
            self._new.set()

    def _take_tokens(self, ids: list[int]) -> None:
        fresh = ids[max(0, self._known_tokens - self._heard_tokens) :]
        self._heard_tokens += len(ids)
        self._unkept_tokens.extend(fresh)
        self._new_tokens += len(fresh)

    def _take_text(self, text: str) -> None:
        begin, self._heard = self._heard, self._heard + len(text)
        overlap = text[: max(0, self._known - begin)]
        if overlap and self.text[begin : begin + len(overlap)] != overlap:
            raise Diverged
        fresh = text[len(overlap) :]
        if fresh:
            self._first_at = self._first_at or clock.monotonic()
            self._unkept.append(fresh)

    async def _show(self) -> None:
        """Keep and deliver in batches, at most one per FLUSH_S, until source and buffer are empty."""
        flushed_at = 0.0
        while True:
            if not (self._unkept or self._unkept_tokens or self._source_ended):
                await self._wait_for_news()
            if not self._source_ended and self._end is None:
                await asyncio.sleep(max(0.0, flushed_at + FLUSH_S - clock.monotonic()))
            flushed_at = clock.monotonic()
            await self._flush()
            if self._source_ended and not (self._unkept or self._unkept_tokens):
                return

    async def _wait_for_news(self) -> None:
        self._new.clear()
        try:
            async with asyncio.timeout(LEASE_RENEW_S):
                await self._new.wait()
        except TimeoutError:
            await self._patiently("", [])

    async def _flush(self) -> None:
        if not (self._unkept or self._unkept_tokens):
            return
        text, tokens = "".join(self._unkept), self._unkept_tokens
        self._unkept, self._unkept_tokens = [], []
        offset = len(self.text)
        self.text += text
        self.tokens += tokens
        await self._patiently(text, tokens)
        if text:
            await self._deliver(offset, text)

    async def _patiently(self, text: str, tokens: list[int]) -> None:
        """Keep a batch (with none: a sign of life), through a restart of Valkey of some seconds."""
        give_up_at = clock.monotonic() + STORE_PATIENCE_S
        while True:
            try:
                await self._keep(text, tokens)
                return
            except RedisError:
                if self._end is not None:
                    return  # the database takes the text over in a moment
                if clock.monotonic() > give_up_at:
                    raise
                log.warning("chat.store_away", exc_info=True)
                await asyncio.sleep(0.25)

    async def _keep(self, text: str, tokens: list[int]) -> None:
        try:
            if not (text or tokens):
                await self._store.renew(*self._place)
            elif self._is_stored:
                await self._store.write(*self._place, self._next_batch, text, tokens)
                self._next_batch += 1
            else:
                await self._keep_all()
        except Lost:
            # Valkey came back without the answer: it gets the whole of it once more.
            await self._store.claim(*self._place)
            await self._keep_all()

    async def _keep_all(self) -> None:
        await self._store.write(*self._place, 0, self.text, self.tokens, whole=True)
        self._next_batch, self._is_stored = 1, True
