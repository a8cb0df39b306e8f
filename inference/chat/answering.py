"""From a question to its finished answer: authority, rows, the engine's stream, the transcript, the record.

One `Answering` is one run of that, over one connection. Whatever happens, the engine is stopped, what was
produced is kept, and the client gets exactly one closing message: `chat.completed`, `chat.stopped` or
`error`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from django.db import Error as DatabaseError
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from core.errors import DomainError
from core.ids import new_id
from inference.call_logs.recorder import Origin
from inference.chat import repository
from inference.chat.models import MessageState
from inference.chat.partials import Fenced, PartialStore
from inference.chat.protocol import (
    Completed,
    Delta,
    Error,
    Parameters,
    Regenerate,
    Resume,
    Send,
    Started,
    Stopped,
    ToClient,
)
from inference.chat.repository import Party
from inference.chat.services import AnswerRunning, Outcome, Turn
from inference.chat.transcript import Diverged, End, Transcript
from inference.gateway import Caller, Rejected

if TYPE_CHECKING:
    from inference.gateway import Gateway, Stream

log = structlog.get_logger(__name__)

ROUTE = "/ws/chat/"
NOT_RESUMABLE = "not_resumable"
CONTINUED_ELSEWHERE = "continued_elsewhere"
Question = Send | Regenerate | Resume
Deliver = Callable[[ToClient], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What an answer needs of its connection."""

    gateway: Gateway
    store: PartialStore
    deliver: Deliver
    origin: Callable[[], Origin] = field(default=Origin)  # where a question comes from, anew for each


class Answering:
    """One answer being written for one client.

    `run` it in a task of its own; `end` it from anywhere on the loop.
    """

    def __init__(self, desk: Desk, party: Party, caller: Caller, question: Question) -> None:
        self.chat = question.chat
        self.lost_authority: Rejected | None = None
        self._desk = desk
        self._party = party
        self._caller = caller
        self._question = question
        self._writer = new_id()
        self._turn: Turn | None = None
        self._transcript: Transcript | None = None
        self._request_id = ""
        self._seq = 0
        self._announced = False
        self._end: End | None = None

    def end(self, how: End) -> None:
        """Stop now: on request, or because the client is gone. Idempotent."""
        self._end = self._end or how
        if self._transcript is not None:
            self._transcript.end(how)

    async def run(self) -> ToClient | None:
        """Answer; the closing message is left to the caller, who frees the chat for the next question first.

        Never raises, other than by cancellation. None when the client is gone.
        """
        # An answer is a task of its own, so this ends with it.
        structlog.contextvars.bind_contextvars(tenant_id=str(self._party.tenant_id))
        try:
            turn = self._turn = await self._begin()
            if turn.is_complete:
                return await self._say_again(turn)
            return await self._write(turn)
        except Fenced:
            sentence = _("This answer is being continued over another connection.")
            return await self._fail(Rejected(409, CONTINUED_ELSEWHERE, sentence))
        except Diverged:
            return await self._fail(_not_resumable())
        except Rejected as error:
            return await self._fail(error)
        except DomainError as error:
            status = 404 if error.code == "not_found" else 409
            return await self._fail(Rejected(status, error.code, error.message))
        except (RedisError, DatabaseError, OSError):
            log.warning("chat.answer_unavailable", request_id=self._request_id, exc_info=True)
            sentence = _("The platform cannot answer right now. Try again shortly.")
            return await self._fail(Rejected(503, "unavailable", sentence))
        except Exception:
            log.exception("chat.answer_failed", request_id=self._request_id)
            return await self._fail(Rejected(500, "internal_error", _("Something went wrong. Try again.")))

    # --- The beginning --------------------------------------------------------------------------------------

    async def _begin(self) -> Turn:
        question = self._question
        if isinstance(question, Resume):
            return await self._reopen(question.message)
        try:
            turn = await self._ask(question)
        except AnswerRunning as running:
            await self._free(running)
            turn = await self._ask(question)
        if turn.answer.writer != self._writer and not turn.is_complete:
            # The same question over a new connection: its answer exists, and goes on.
            return await self._reopen(turn.answer.public_id)
        if not turn.is_complete:
            await self._desk.store.claim(self._party.tenant_id, turn.answer.id, self._writer)
        return turn

    async def _ask(self, question: Send | Regenerate) -> Turn:
        arguments: dict[str, Any] = {
            "chat": question.chat,
            "client_id": question.client_id,
            "writer": self._writer,
            "versions": {name: route.version_id for name, route in self._caller.routes.items()},
        }
        if isinstance(question.model, str):
            arguments["model"] = question.model
        if isinstance(question.params, Parameters):
            arguments["parameters"] = question.params.as_dict()
        if isinstance(question, Send):
            turn: Turn = await repository.ask(self._party, content=question.content, **arguments)
        else:
            turn = await repository.ask_again(self._party, **arguments)
        return turn

    async def _free(self, running: AnswerRunning) -> None:
        """Take over from a writer that died without a word; raise `running` when it lives."""
        left, alive = await self._desk.store.read(self._party.tenant_id, running.answer.id)
        if alive:
            raise running
        await repository.recover(self._party, running.answer.id, left)

    async def _reopen(self, message: str) -> Turn:
        message_id = await repository.answer_id(self._party, self.chat, message)
        # From here on the earlier writer can neither keep nor show anything more.
        found = await self._desk.store.claim(self._party.tenant_id, message_id, self._writer)
        turn: Turn = await repository.reopen(
            self._party, chat=self.chat, message=message, found=found, writer=self._writer
        )
        if turn.is_complete:
            await self._desk.store.release(self._party.tenant_id, message_id, self._writer)
        return turn

    # --- The writing ----------------------------------------------------------------------------------------

    async def _write(self, turn: Turn) -> ToClient | None:
        self._refuse_other_text(turn)
        transcript = self._transcript = Transcript(
            store=self._desk.store,
            tenant_id=self._party.tenant_id,
            message_id=turn.answer.id,
            writer=self._writer,
            known=turn.partial,
            deliver=partial(self._deliver_text, turn.answer.public_id),
        )
        end = self._end
        if end is None:
            known = turn.partial.tokens
            stream = await self._submit(turn.body, [known] if known else None)
            try:
                self._request_id = stream.request_id
                structlog.contextvars.bind_contextvars(request_id=stream.request_id)
                await self._announce(turn)
                end = await transcript.write(stream)
            finally:
                await stream.close()
        return await self._finish(turn, transcript, end)

    async def _submit(self, body: dict[str, Any], known: list[list[int]] | None) -> Stream:
        gateway, origin = self._desk.gateway, self._desk.origin()
        origin.route, origin.request_id = ROUTE, f"req_{new_id().hex}"
        try:
            return await gateway.submit(
                self._caller, kind="chat", body=body, route=ROUTE, resume_from=known, origin=origin
            )
        except Rejected as error:
            gateway.logs.refused(self._caller, origin, kind="chat", body=body, error=error)
            raise

    def _refuse_other_text(self, turn: Turn) -> None:
        """Raise Rejected when the model behind the name cannot go on with the text that there is."""
        if not turn.partial.text:
            return
        route = self._caller.route(turn.answer.model)
        same = turn.answer.version_id is None or turn.answer.version_id == route.version_id
        if not (same and turn.partial.tokens) or route.engine == "openai":
            raise _not_resumable()

    async def _announce(self, turn: Turn) -> None:
        """Say that the answer begins or goes on, and give the client what is known beyond what it has."""
        known = turn.partial.text if not turn.is_complete else turn.answer.content
        received = self._question.received if isinstance(self._question, Resume) else 0
        offset = min(received, len(known))
        await self._desk.deliver(
            Started(
                chat=self.chat,
                message=turn.answer.public_id,
                question=turn.question.public_id,
                request_id=self._request_id or turn.answer.request_id,
                model=turn.answer.model,
                offset=offset,
                attempts=turn.answer.attempt + 1,
                title=turn.session.title,
                client_id="" if isinstance(self._question, Resume) else self._question.client_id,
            )
        )
        self._announced = True
        if offset < len(known):
            await self._deliver_text(turn.answer.public_id, offset, known[offset:])

    async def _deliver_text(self, message: str, offset: int, text: str) -> None:
        seq, self._seq = self._seq, self._seq + 1
        await self._desk.deliver(Delta(chat=self.chat, message=message, seq=seq, offset=offset, text=text))

    async def _say_again(self, turn: Turn) -> ToClient:
        """An answer that ended while the client was away: the rest of it, from the database."""
        await self._announce(turn)
        answer = turn.answer
        return Completed(
            chat=self.chat,
            message=answer.public_id,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            timing=answer.timing,
            length=len(answer.content),
        )

    # --- The end --------------------------------------------------------------------------------------------

    async def _finish(self, turn: Turn, transcript: Transcript, end: End) -> ToClient | None:
        usage = transcript.usage or {"completion_tokens": len(transcript.tokens)}
        outcome = Outcome(
            state=MessageState(end.value),
            text=transcript.text,
            tokens=transcript.tokens,
            request_id=self._request_id,
            finish_reason=transcript.finish_reason if end is End.COMPLETE else "",
            usage=usage,
            timing=transcript.timing(),
        )
        await self._keep(turn, outcome)
        message, length, timing = turn.answer.public_id, len(transcript.text), outcome.timing
        if end is End.COMPLETE:
            return Completed(
                chat=self.chat,
                message=message,
                finish_reason=outcome.finish_reason,
                usage=usage,
                timing=timing,
                length=length,
            )
        if end is End.STOPPED:
            return Stopped(chat=self.chat, message=message, usage=usage, timing=timing, length=length)
        return None

    async def _fail(self, error: Rejected) -> ToClient:
        turn = self._turn
        if error.status in (401, 403):
            self.lost_authority = error
        if turn is not None and error.code != CONTINUED_ELSEWHERE:
            if not self._announced and turn.partial.text:
                await self._announce(turn)
            await self._keep(turn, self._failed(turn, error))
        return Error(
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            param=error.param or "",
            limit=error.limit,
            retry_after_ms=int((error.retry_after_s or 0) * 1000),
            request_id=self._request_id,
            chat=self.chat,
            message_id=turn.answer.public_id if turn is not None else "",
            client_id="" if isinstance(self._question, Resume) else self._question.client_id,
        )

    def _failed(self, turn: Turn, error: Rejected) -> Outcome:
        transcript = self._transcript
        gone = self._end is End.INTERRUPTED or error.code == NOT_RESUMABLE
        return Outcome(
            state=MessageState.INTERRUPTED if gone else MessageState.FAILED,
            text=transcript.text if transcript is not None else turn.partial.text,
            tokens=transcript.tokens if transcript is not None else turn.partial.tokens,
            request_id=self._request_id or turn.answer.request_id,
            error_code=error.code,
        )

    async def _keep(self, turn: Turn, outcome: Outcome) -> None:
        """Into the database, out of Valkey.

        Should the database be away, Valkey keeps it and a later look recovers it.
        """
        try:
            await repository.close(self._party, turn.answer.id, self._writer, outcome)
            await self._desk.store.release(self._party.tenant_id, turn.answer.id, self._writer)
        except (DatabaseError, RedisError, OSError):
            log.warning("chat.answer_not_closed", request_id=self._request_id, exc_info=True)


def _not_resumable() -> Rejected:
    return Rejected(409, NOT_RESUMABLE, _("This answer cannot be continued. Ask for a new one."))
