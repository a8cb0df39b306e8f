"""What a replica says of a request that ended without its engine's word, as OpenAI error bodies."""

from __future__ import annotations

import msgspec

from inference.worker.port import Failure


def _failure(status: int, code: str, message: str) -> Failure:
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    return Failure(status, msgspec.json.encode({"error": error}))


def deadline_exceeded() -> Failure:
    """The request's deadline passed before an engine saw it."""
    return _failure(504, "deadline_exceeded", "The request's deadline passed while it waited for its turn.")


def timeout() -> Failure:
    """The request's deadline passed while an engine worked on it."""
    return _failure(504, "timeout", "The request took longer than its deadline allows.")


def internal() -> Failure:
    """A fault of ours."""
    return _failure(500, "engine_error", "The engine could not serve the request.")
