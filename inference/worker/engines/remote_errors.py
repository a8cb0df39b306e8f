"""Failures of a server elsewhere, told as ours: without its words where they are about the platform's account
there, and with them, cleaned and bounded, where they are about the client's own request."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from core import clock
from inference.worker.engines import wire
from inference.worker.port import Failure

_MAX_MESSAGE = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,10}://\S+", re.IGNORECASE)
# Account names, keys and addresses that providers like to quote.
_NAMES = re.compile(
    r"\b(?:org|proj|acct|sk|key|pk|req)[-_][\w*-]{8,}|\bBearer\s+\S+|\S+@\S+\.\S+", re.IGNORECASE
)
_CODE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_PARAM = re.compile(r"[\w.\[\]-]{1,64}")


class Refused(Exception):
    """The request ends with this failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.status)
        self.failure = failure


def malformed() -> Refused:
    """The server's answer is not what the protocol says."""
    message = "The model's server sent an answer that cannot be understood."
    return Refused(wire.failure(502, message, code="upstream_malformed"))


def cut() -> Refused:
    """The server's answer ended before its end."""
    message = "The model's server broke off in the middle of its answer."
    return Refused(wire.failure(502, message, code="upstream_cut"))


def timed_out() -> Refused:
    """The server did not answer in time."""
    return Refused(wire.failure(504, "The model's server did not answer in time.", code="upstream_timeout"))


class ErrorTranslator:
    """Turns the server's errors into ours. `secrets` are the texts that no message may carry."""

    def __init__(self, *, secrets: list[str], remote_model: str) -> None:
        self._secrets = sorted((text for text in secrets if text), key=len, reverse=True)
        self._remote_model = remote_model

    def response(self, status: int, retry_after: str | None, body: bytes, public_model: str) -> Failure:
        """The failure for an answer with this status."""
        try:
            received = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            received = None
        return self._failure(status, _error_of(received), _seconds(retry_after), public_model)

    def error_in_stream(self, received: dict[str, Any], public_model: str = "") -> Failure:
        """The failure for an error that arrives inside a stream."""
        error = _error_of(received)
        status = error.get("code")
        if not isinstance(status, int) or not 400 <= status <= 599:
            status = 500
        return self._failure(status, error, None, public_model)

    def _failure(
        self, status: int, error: dict[str, Any], retry_after: float | None, public_model: str
    ) -> Failure:
        if status in (401, 402, 403):
            message = "The model's server refuses the credentials that the platform has for it."
            return wire.failure(502, message, code="upstream_refused")
        if status == 429:
            message = "The model's server is at its limit. Try again later."
            wait = 1.0 if retry_after is None else retry_after
            return wire.failure(503, message, code="upstream_busy", retry_after=wait)
        if status in (400, 413, 422):
            return self._of_the_client(status, error, public_model)
        if status in (408, 504):
            return timed_out().failure
        if status == 404:
            message = "The model's server does not know the model, or the address is not right."
            return wire.failure(502, message, code="upstream_not_found")
        if 300 <= status < 400:
            message = "The model's server points elsewhere; redirects are not followed."
            return wire.failure(502, message, code="upstream_redirect")
        return wire.failure(502, "The model's server failed.", code="upstream_error")

    def _of_the_client(self, status: int, error: dict[str, Any], public_model: str) -> Failure:
        said = self.clean(error.get("message"), public_model)
        code, param = error.get("code"), error.get("param")
        return wire.failure(
            413 if status == 413 else 400,
            said or "The model's server does not accept the request.",
            code=code if isinstance(code, str) and _CODE.fullmatch(code) else "upstream_rejected",
            param=param if isinstance(param, str) and _PARAM.fullmatch(param) else None,
        )

    def clean(self, text: Any, public_model: str) -> str:
        """The server's words without secrets, addresses, account names and control characters, and
        bounded."""
        if not isinstance(text, str):
            return ""
        # Before any cutting: half a secret is a leak, too.
        for secret in self._secrets:
            text = text.replace(secret, "…")
        text = text.replace(self._remote_model, public_model or "the model")
        text = _NAMES.sub("…", _URL.sub("…", _CONTROL.sub(" ", text)))
        text = " ".join(text.split())
        return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"


def _error_of(received: Any) -> dict[str, Any]:
    """The error object in the forms that servers use: nested, flat (vLLM of old), or a bare text."""
    if not isinstance(received, dict):
        return {}
    error = received.get("error", received)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    """Seconds out of a Retry-After header (a number or a date), between 0 and an hour."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - clock.now()).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), 3600.0) if seconds == seconds else None
