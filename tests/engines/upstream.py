"""What a server elsewhere sends, and what the tests of the remote engine make of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from inference.worker.engines.remote import RemoteEngine
from tests.engines.asking import Answer, error_of

CREDENTIAL = "4711UpstreamSecret"  # in no form that gives it away
LOOPBACK = ["127.0.0.0/8"]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
Connect = Callable[..., Awaitable[RemoteEngine]]


def sse(*chunks: Any) -> list[bytes]:
    """Raw events of a stream."""
    return [
        b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"
        for chunk in chunks
    ]


def piece(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat, as a server elsewhere sends it."""
    delta = {} if text is None else {"content": text}
    return {
        "id": "theirs",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "upstream/model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def fails(got: Answer, status: int, code: str) -> None:
    assert got.failure is not None
    assert (got.failure.status, error_of(got.failure)["code"]) == (status, code)
