"""Answers in the form that OpenAI's clients expect: headers, JSON bodies, server-sent events, errors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from django.conf import settings

from core import clock
from inference.gateway.errors import Rejected

Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
_JSON: Header = (b"content-type", b"application/json")
_EVENTS: Sequence[Header] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_COMMON: Sequence[Header] = (
    (b"openai-version", b"2020-10-01"),
    (b"x-content-type-options", b"nosniff"),
)


class SlowReader(Exception):
    """The client does not read: what was sent has not left for `SLOW_READER_TIMEOUT_S`."""


class Responder:
    """Sends one response. Knows whether it has begun, which decides the form that an error takes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._began_at = clock.monotonic()
        self.request_id = ""
        self.headers: Sequence[Header] = ()  # of whatever is answered, beside its own
        self.begun = False

    async def json(self, status: int, payload: bytes, extra: Sequence[Header] = ()) -> None:
        """A whole JSON response."""
        await self._start(status, [_JSON, (b"content-length", str(len(payload)).encode()), *extra])
        await self._body(payload, more=False)

    async def error(self, error: Rejected) -> None:
        """An error: a response of its own, or one event in a stream that has begun, and then the end."""
        if self.begun:
            await self._body(b"data: " + error.body() + b"\n\n", more=False)
            return
        extra: list[Header] = list(error.headers)
        if error.retry_after_s is not None:
            extra.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
            extra.append((b"retry-after-ms", str(math.ceil(error.retry_after_s * 1000)).encode()))
        if error.status in (409, 429) or error.status >= 500:
            extra.append((b"x-should-retry", b"true" if error.retryable else b"false"))
        if error.status == 401:
            extra.append((b"www-authenticate", b"Bearer"))
        await self.json(error.status, error.body(), extra)

    async def begin_stream(self) -> None:
        """The head of a stream of events."""
        await self._start(200, list(_EVENTS))

    async def events(self, payloads: Sequence[bytes]) -> None:
        """Several events in one write."""
        await self._body(b"".join([part for p in payloads for part in (b"data: ", p, b"\n\n")]), more=True)

    async def comment(self) -> None:
        """A comment that keeps proxies and clients from giving up."""
        await self._body(KEEP_ALIVE, more=True)

    async def end_stream(self) -> None:
        """`[DONE]`, and the end."""
        await self._body(DONE, more=False)

    async def _start(self, status: int, headers: list[Header]) -> None:
        self.begun = True
        spent_ms = int((clock.monotonic() - self._began_at) * 1000)
        headers += _COMMON
        headers += self.headers
        headers.append((b"openai-processing-ms", str(spent_ms).encode()))
        if self.request_id:
            headers.append((b"x-request-id", self.request_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, body: bytes, *, more: bool) -> None:
        try:
            async with asyncio.timeout(settings.SLOW_READER_TIMEOUT_S):
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError as error:
            raise SlowReader from error
