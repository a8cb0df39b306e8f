"""Bounds on request bodies in front of Django, which would write a body of any size, however slow, to disk first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from core import clock

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]


class BoundedBodies:
    """Wraps an ASGI application: bodies over MAX_BODY_BYTES get 413, those that take over BODY_TIMEOUT_S get 408."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or int(announced[:20]) > settings.MAX_BODY_BYTES:
            await _refuse(send, 413, "too_large", "The body is too large.")
            return
        body = _Body(receive, send)
        await self._application(scope, body.receive, body.send)


class _Body:
    """One request's body on its way in: counts bytes and seconds until it is complete."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._deadline = clock.monotonic() + settings.BODY_TIMEOUT_S
        self._size = 0
        self._complete = False
        self._refused = False

    async def receive(self) -> Message:
        """The next message; a disconnect once the body has been refused."""
        if self._complete:
            return await self._receive()
        try:
            # One deadline for the whole body: a byte now and then must not hold a thread for hours.
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - clock.monotonic()))
        except TimeoutError:
            return await self._refuse(408, "too_slow", "The body did not arrive in time.")
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        if self._size > settings.MAX_BODY_BYTES:
            return await self._refuse(413, "too_large", "The body is too large.")
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on, unless ours has been given."""
        if not self._refused:
            await self._send(message)

    async def _refuse(self, status: int, code: str, detail: str) -> Message:
        self._complete = self._refused = True
        await _refuse(self._send, status, code, detail)
        return {"type": "http.disconnect"}


async def _refuse(send: Send, status: int, code: str, detail: str) -> None:
    problem = {
        "type": f"urn:atrium:problem:{code}",
        "status": status,
        "code": code,
        "detail": detail,
        "errors": [],
    }
    payload = json.dumps(problem).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(payload)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})
