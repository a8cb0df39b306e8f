"""How a request can be refused or end badly, with what every surface needs to say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from inference.gateway.callers import Caller


class Rejected(Exception):
    """The request is refused or has failed. `status` is HTTP's; `code` is stable; `message` says what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        kind: str | None = None,
        retry_after_s: float | None = None,
        limit: dict[str, Any] | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind or _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.retry_after_s = retry_after_s
        self.limit = limit  # name, scope, value, remaining, reset_at of the limit that said no
        self.headers = headers  # for surfaces that have headers
        self.caller: Caller | None = (
            None  # whose request it was, where that is known and the surface is not told else
        )
        self._should_retry = should_retry

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed soon: not where a quota is used up, though its status is 429."""
        if self._should_retry is not None:
            return self._should_retry
        return self.status in (408, 409, 429) or self.status >= 500

    def body(self) -> bytes:
        """The OpenAI error body; beside its fields, `limit` where one said no."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        if self.limit is not None:
            error["limit"] = self.limit
        return msgspec.json.encode({"error": error})

    @classmethod
    def from_body(cls, status: int, payload: bytes) -> Rejected:
        """The error that an engine reported as an OpenAI body."""
        try:
            error: dict[str, Any] = msgspec.json.decode(payload)["error"]
        except (msgspec.DecodeError, KeyError, TypeError):
            error = {}
        return cls(
            status,
            str(error.get("code") or "engine_error"),
            str(error.get("message") or "The engine could not serve the request."),
            param=error.get("param"),
            kind=error.get("type"),
            retry_after_s=error.get("retry_after"),
        )


_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def invalid_key() -> Rejected:
    """One answer for every key that does not open the door: unknown, revoked, expired or another tenant's (L17)."""
    return Rejected(
        401,
        "invalid_api_key",
        "Incorrect API key provided. Keys look like atr-…; owners, admins and developers of a tenant make them.",
        kind="authentication_error",
    )


def unavailable(message: str, *, code: str = "service_unavailable", retry_after_s: float = 1.0) -> Rejected:
    """Something that is needed is away for a moment."""
    return Rejected(503, code, message, kind="server_error", retry_after_s=retry_after_s)
