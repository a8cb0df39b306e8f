"""The web process's side: facts are noted while a request runs, and everything that costs is done by one thread.

On the event loop a request costs some ten microseconds and no await. The thread redacts, cuts, seals and encodes, puts
the note into the usage journal on disk and into a Valkey stream; the jobs worker takes it from there (`ingestion`).
A process that is killed loses what it has not handed to the journal yet, some 120 ms; the usage record of such a
request still makes a row, without its summaries.

Dropped, with a count in the log: notes beyond MOST_WAITING that wait for the thread; full texts beyond MOST_TEXTS;
notes that neither disk nor Valkey takes (the journal's own bounds). Never a request, and never a usage record.
"""

from __future__ import annotations

import atexit
import base64
import re
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import redis
import structlog
from django.conf import settings

from core import clock
from core.valkey import sync_client
from inference.call_logs.data_keys import seal_text
from inference.call_logs.models import LogOutcome
from inference.call_logs.policy import LogTerms
from inference.call_logs.redaction import places
from inference.call_logs.summaries import Heard, hear_answer, parameters_of, prompt_heard
from inference.call_logs.wire import CallNote, FullText, encode_note, encode_text
from inference.queue.journal import Journal, most_notes, process_journal
from inference.queue.keys import CALL_LOGS
from observability.logs import write_facts

if TYPE_CHECKING:
    from inference.errors import Rejected
    from inference.gateway.callers import Caller
    from inference.gateway.stream import Stream
    from safety.spec import Verdict

log = structlog.get_logger(__name__)

MOST_WAITING = 5_000
MOST_TEXTS = 200  # notes that wait with a full text
GATHER_S = 0.1
# Between two notes the event loop gets the interpreter: a request must not wait for a batch.
PAUSE_S = 0.0005
AWAY_S = 5.0  # how long a Valkey that did not answer is left alone; the journal offers again what it missed
_BATCH = 200
_REASONS = frozenset(
    {"", "stop", "length", "tool_calls", "content_filter", "function_call", "abort", "error"}
)
_TRACEPARENT = re.compile(rb"\A[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}\Z")


@dataclass(slots=True)
class Origin:
    """Where a request comes from, and what is learned of it on the way. One per request, whatever its end.

    `verdicts` is the safety pipeline's to fill; a verdict that refuses makes the outcome `blocked`.
    """

    request_id: str = ""
    route: str = ""
    address: str = ""
    user_agent: str = ""
    trace_id: str = ""
    verdicts: list[Verdict] = field(default_factory=list)
    begun_ms: int = field(default_factory=clock.epoch_ms)
    is_noted: bool = False  # a stream or a refusal has taken it up


def origin_of(headers: dict[bytes, bytes], *, address: str, route: str = "", request_id: str = "") -> Origin:
    """From a request's headers: `user-agent`, and `traceparent` where it is W3C's."""
    found = _TRACEPARENT.match(headers.get(b"traceparent", b""))
    agent = headers.get(b"user-agent", b"")[:200].decode("latin-1")
    return Origin(
        request_id=request_id,
        route=route,
        address=address[:64],
        user_agent="".join(letter for letter in agent if letter.isprintable()),
        trace_id=found[1].decode() if found else "",
    )


class Recording:
    """One admitted request: what its stream says goes to `heard`, unless its tenant keeps nothing of it (`is_kept`)."""

    __slots__ = ("heard", "is_kept", "kind", "origin", "terms")

    def __init__(self, origin: Origin, terms: LogTerms, kind: str, *, is_kept: bool = True) -> None:
        self.origin = origin
        self.terms = terms
        self.kind = kind
        self.is_kept = is_kept
        self.heard = Heard(keeps_all=terms.keeps_text)


@dataclass(slots=True)
class _Raw:
    """Facts on their way to the thread."""

    note: CallNote
    terms: LogTerms
    prompt: Heard
    response: Heard
    is_kept: bool = True  # False: a line in the server's own log is all
    result: bytes | None = None


class CallLogs:
    """The recorder of this process. `begin`, `end` and `refused` are called on event loops and never wait."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._waiting: deque[_Raw] = deque()
        self._texts = 0
        self._dropped = 0
        self._away_until = 0.0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    # --- On the loop

    def begin(self, caller: Caller, kind: str, origin: Origin, request_id: str) -> Recording:
        """For a request that is about to be queued; `begun` when the queue has taken it."""
        return Recording(origin, caller.logs, kind, is_kept=caller.logs.wants(request_id))

    @staticmethod
    def begun(recording: Recording, request_id: str) -> None:
        """The queue has taken it: from now on its stream notes how it ends, and nobody notes a refusal."""
        recording.origin.is_noted = True
        recording.origin.request_id = request_id

    def end(self, recording: Recording, stream: Stream) -> None:
        """The request is over, one way or the other."""
        ticket, origin, now = stream.ticket, recording.origin, clock.epoch_ms()
        error = stream.error
        first = stream.first_piece_at
        note = CallNote(
            request_id=ticket.id,
            tenant_id=ticket.tenant,
            started_ms=ticket.enqueued_ms,
            finished_ms=now,
            outcome=self._outcome(stream, origin),
            route=ticket.route,
            key_id=ticket.key,
            user_id=ticket.user,
            address=origin.address,
            user_agent=origin.user_agent,
            model=ticket.model,
            version_id=ticket.version or None,
            deployment_id=ticket.deployment or None,
            replica=stream.replica,
            stream=bool(ticket.body.get("stream")),
            prompt_tokens=ticket.prompt_tokens,
            completion_tokens=stream.completion_tokens(),
            queue_ms=stream.queue_ms,
            first_token_ms=None if first is None else int((first - stream.started_at) * 1000),
            duration_ms=max(0, now - ticket.enqueued_ms),
            verdicts=origin.verdicts,
            status=error.status if error is not None else 200,
            error_code=error.code if error is not None else ("client_gone" if stream.was_cut else ""),
            finish_reason=stream.finish_reason[:32],
            trace_id=origin.trace_id,
            end_user=ticket.end_user,
            tags=ticket.tags,
        )
        if not recording.is_kept:
            self._put(_Raw(note, LogTerms(), Heard(), Heard(), is_kept=False))
            return
        # Here and not in the thread, so that no body is held while it waits.
        note.parameters = parameters_of(ticket.body)
        self._put(
            _Raw(
                note,
                recording.terms,
                prompt_heard(recording.kind, ticket.body, keeps_all=recording.terms.keeps_text),
                recording.heard,
                result=stream.whole_answer if recording.kind != "embedding" else None,
            )
        )

    @staticmethod
    def _outcome(stream: Stream, origin: Origin) -> str:
        if any(verdict.action.refuses for verdict in origin.verdicts):
            return LogOutcome.BLOCKED.value
        if stream.error is not None:
            return LogOutcome.FAILED.value
        return LogOutcome.CANCELLED.value if stream.was_cut else LogOutcome.COMPLETED.value

    def refused(
        self,
        caller: Caller,
        origin: Origin,
        *,
        kind: str,
        body: dict[str, Any],
        error: Rejected,
        started_ms: int = 0,
    ) -> None:
        """A request of a known caller that was turned away; `body` is what was read of it, checked or not."""
        origin.is_noted = True
        terms = caller.logs
        now = clock.epoch_ms()
        model, user = body.get("model"), body.get("user")
        route = caller.routes.get(model) if isinstance(model, str) else None
        blocked = any(verdict.action.refuses for verdict in origin.verdicts)
        note = CallNote(
            request_id=origin.request_id,
            tenant_id=str(caller.tenant_id),
            started_ms=started_ms or origin.begun_ms,
            finished_ms=now,
            outcome=(LogOutcome.BLOCKED if blocked else LogOutcome.REFUSED).value,
            route=origin.route,
            key_id=str(caller.key_id) if caller.key_id else None,
            user_id=str(caller.user_id) if caller.user_id else None,
            address=origin.address,
            user_agent=origin.user_agent,
            model=model[:200] if isinstance(model, str) else "",
            version_id=str(route.version_id) if route else None,
            deployment_id=str(route.deployment_id) if route else None,
            stream=body.get("stream") is True,
            duration_ms=max(0, now - origin.begun_ms),
            verdicts=origin.verdicts,
            status=error.status,
            error_code=error.code,
            limit_name=str((error.limit or {}).get("name") or "")[:100],
            trace_id=origin.trace_id,
            end_user=user[:200] if isinstance(user, str) else "",
        )
        if not terms.wants(origin.request_id):
            self._put(_Raw(note, LogTerms(), Heard(), Heard(), is_kept=False))
            return
        note.parameters = parameters_of(body)
        self._put(_Raw(note, terms, prompt_heard(kind, body, keeps_all=terms.keeps_text), Heard()))

    def _put(self, raw: _Raw) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        if raw.terms.keeps_text:
            if self._texts >= MOST_TEXTS:
                raw.prompt.keeps_all = raw.response.keeps_all = False
                raw.terms = LogTerms(raw.terms.level, raw.terms.sample_percent, raw.terms.kept_entities)
            else:
                self._texts += 1
        with self._lock:
            self._idle.clear()
            self._waiting.append(raw)
        if self._thread is None:
            self._start()
        self._wake.set()

    # --- The thread

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="call-logs", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Hand over what waits, and stop."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def settle(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything that was noted so far has been handed over (tests, shutdown)."""
        return self._idle.wait(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            self._stopping.wait(GATHER_S)
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._waiting:
            batch: list[tuple[bytes, str]] = []
            lines: list[dict[str, Any]] = []
            while self._waiting and len(batch) < _BATCH:
                raw = self._waiting.popleft()
                self._texts -= raw.terms.keeps_text
                try:
                    if settings.LOG_CALLS:
                        lines.append(line_of(raw.note, is_known=bool(raw.note.version_id)))
                    if not raw.is_kept:
                        continue
                    data = encode_note(finished(raw))
                except Exception as error:
                    # SECURITY: its message may hold what was said.
                    log.error(
                        "call_logs.note_failed",
                        request_id=raw.note.request_id,
                        tenant_id=raw.note.tenant_id,
                        error=type(error).__name__,
                        at=places(error),
                    )
                    continue
                mark = self._kept().append_log(data)
                batch.append((data, mark))
                self._stopping.wait(PAUSE_S)
            self._send(batch)
            write_facts(__name__, "call.served", lines)
        if self._dropped:
            log.error("call_logs.dropped", notes=self._dropped)
            self._dropped = 0
        with self._lock:
            if not self._waiting:
                self._idle.set()

    def _kept(self) -> Journal:
        if self._journal is None:
            self._journal = process_journal()
        return self._journal

    def _send(self, batch: list[tuple[bytes, str]]) -> None:
        """Into the stream. What Valkey does not take, the journal offers again; what has no place there is lost."""
        if not batch:
            return
        if clock.monotonic() >= self._away_until:
            pipeline: Any = sync_client().pipeline(transaction=False)
            for data, mark in batch:
                entry = {"r": data, "j": mark} if mark else {"r": data}
                pipeline.xadd(CALL_LOGS, entry, maxlen=most_notes(len(data)), approximate=True)
            try:
                pipeline.execute()
                return
            except (redis.RedisError, OSError) as error:
                self._away_until = clock.monotonic() + AWAY_S
                log.warning("call_logs.not_sent", notes=len(batch), error=type(error).__name__)
        self._dropped += sum(not mark for _data, mark in batch)


def line_of(note: CallNote, *, is_known: bool) -> dict[str, Any]:
    """One line on standard output per request, for whoever ships logs: ids, times and codes, nothing that was said.

    SECURITY: the model is named only where there is one of that name: a client may write anything there. So may a
    remote server as the reason why it stopped.
    """
    return {
        "time": datetime.fromtimestamp(note.finished_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "request_id": note.request_id,
        "tenant_id": note.tenant_id,
        "key_id": note.key_id,
        "route": note.route,
        "model": note.model if is_known else "",
        "replica": note.replica,
        "outcome": note.outcome,
        "status": note.status,
        "error_code": note.error_code,
        "limit": note.limit_name,
        "finish_reason": note.finish_reason if note.finish_reason in _REASONS else "other",
        "trace_id": note.trace_id,
        "queue_ms": note.queue_ms,
        "first_token_ms": note.first_token_ms,
        "duration_ms": note.duration_ms,
        "prompt_tokens": note.prompt_tokens,
        "completion_tokens": note.completion_tokens,
    }


def finished(raw: _Raw) -> CallNote:
    """The note with its summaries, redacted, and its full text, sealed."""
    note, terms = raw.note, raw.terms
    if raw.result is not None:
        reason, prompt_tokens, completion_tokens = hear_answer(raw.response, raw.result)
        note.finish_reason = reason[:32] or note.finish_reason
        note.prompt_tokens = prompt_tokens or note.prompt_tokens
        note.completion_tokens = completion_tokens or note.completion_tokens
    note.prompt_summary = raw.prompt.summary(terms.kept_entities)
    note.response_summary = raw.response.summary(terms.kept_entities)
    note.prompt_chars, note.response_chars = raw.prompt.chars, raw.response.chars
    if terms.keeps_text and terms.key_id is not None:
        text = FullText(
            prompt=raw.prompt.whole(terms.kept_entities),
            response=raw.response.whole(terms.kept_entities),
            is_cut=raw.prompt.is_cut or raw.response.is_cut,
        )
        sealed = seal_text(
            terms.key, encode_text(text), tenant_id=UUID(note.tenant_id), request_id=note.request_id
        )
        note.data_key_id, note.content = str(terms.key_id), base64.b64encode(sealed).decode()
    return note


_logs: CallLogs | None = None
_making = threading.Lock()


def process_call_logs() -> CallLogs:
    """The one recorder of this process; closed, before the journal, when the process ends in good order."""
    global _logs
    if _logs is None:
        with _making:
            if _logs is None:
                process_journal()  # closed after this one: atexit goes backwards
                _logs = CallLogs()
                atexit.register(_logs.close)
    return _logs
