"""Usage records that the web process writes itself: for requests that no replica accounts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core import clock
from inference.queue.wire import UsageNote, note_from

if TYPE_CHECKING:
    from inference.gateway.callers import Caller
    from inference.gateway.stream import Stream


def note_of(stream: Stream, outcome: str, code: str) -> UsageNote:
    """What is known here of a request that ended without a replica's word."""
    ticket = stream.ticket
    now_ms = clock.epoch_ms()
    first = stream.first_piece_at
    note = note_from(ticket, outcome=outcome, code=code, finished_ms=now_ms)
    note.replica = stream.replica
    note.completion_tokens = stream.completion_tokens()
    note.queue_ms = stream.queue_ms or (now_ms - ticket.enqueued_ms if stream.waiting_for_replica else 0)
    note.first_token_ms = None if first is None else int((first - stream.started_at) * 1000)
    return note


def refusal(
    caller: Caller,
    *,
    request_id: str,
    model: str,
    route: str,
    stream: bool,
    code: str,
    end_user: str,
    started_ms: int,
) -> UsageNote:
    """A request of a known caller that was refused before it reached a queue.

    `request_id` and `started_ms` are those of its call log: by them the two are one request.
    """
    now_ms = clock.epoch_ms()
    found = caller.routes.get(model)
    return UsageNote(
        request_id=request_id,
        tenant_id=str(caller.tenant_id),
        key_id=str(caller.key_id) if caller.key_id else None,
        user_id=str(caller.user_id) if caller.user_id else None,
        model=model[:200],
        version_id=str(found.version_id) if found else "",
        deployment_id=str(found.deployment_id) if found else "",
        replica="",
        route=route,
        stream=stream,
        prompt_tokens=0,
        cached_tokens=0,
        completion_tokens=0,
        queue_ms=0,
        first_token_ms=None,
        duration_ms=0,
        outcome="refused",
        error_code=code,
        end_user=end_user[:200],
        started_ms=started_ms,
        finished_ms=now_ms,
    )
