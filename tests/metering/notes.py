"""Usage notes for tests."""

from __future__ import annotations

from typing import Any

from core.valkey import sync_client
from inference.queue.keys import USAGE
from inference.queue.wire import UsageNote, decode_usage

STARTED_MS = 1_790_000_000_000


def note(tenant_id: Any, request_id: str, **changes: Any) -> UsageNote:
    """A finished request."""
    facts: dict[str, Any] = {
        "request_id": request_id,
        "tenant_id": str(tenant_id),
        "key_id": None,
        "user_id": None,
        "model": "m",
        "version_id": "",
        "deployment_id": "",
        "replica": "rep",
        "route": "chat.completions",
        "stream": True,
        "prompt_tokens": 12,
        "cached_tokens": 0,
        "completion_tokens": 30,
        "queue_ms": 1,
        "first_token_ms": 2,
        "duration_ms": 3,
        "outcome": "completed",
        "error_code": "",
        "end_user": "",
        "started_ms": STARTED_MS,
        "finished_ms": STARTED_MS + 100,
        **changes,
    }
    return UsageNote(**facts)


def in_stream() -> list[str]:
    """Request ids in the stream, in order."""
    return [decode_usage(fields[b"r"])["request_id"] for _, fields in sync_client().xrange(USAGE)]  # type: ignore[misc]
