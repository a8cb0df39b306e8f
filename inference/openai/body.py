"""Reading a request's body off the wire: bounded in bytes, in time and in depth, before anything is made of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from django.conf import settings

from inference.gateway.errors import Rejected

Receive = Callable[[], Awaitable[dict[str, Any]]]
_OPENERS = (b"[", b"{")
_STRUCTURE = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
# What might be an integer beyond 64 bits, which neither tickets nor engines can carry.
_LONG_NUMBER = re.compile(rb"\d{19}")
_MOST, _LEAST = 2**63 - 1, -(2**63)


class ClientGone(Exception):
    """The client left before its request was complete."""


async def read_json(headers: dict[bytes, bytes], receive: Receive) -> dict[str, Any]:
    """The JSON object in the body. Raises Rejected (400, 408, 413, 415) or ClientGone."""
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding not in (b"identity", b""):
        raise Rejected(415, "unsupported_encoding", "Send the body as plain JSON, not compressed.")
    limit = settings.MAX_BODY_BYTES
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    try:
        # SECURITY: one deadline for the whole body, so that a slow sender cannot hold the connection (slowloris).
        async with asyncio.timeout(settings.BODY_TIMEOUT_S):
            data = await _read(receive, limit)
    except TimeoutError as error:
        raise Rejected(408, "request_timeout", "The request's body did not arrive in time.") from error
    return _decode(data)


async def _read(receive: Receive, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
        if not message.get("more_body"):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int) -> Rejected:
    return Rejected(413, "request_too_large", f"The request's body is larger than {limit} bytes.")


def _decode(data: bytes) -> dict[str, Any]:
    deepest = settings.MAX_JSON_DEPTH
    # Depth cannot pass the number of opening brackets, so most bodies need no walk.
    if sum(map(data.count, _OPENERS)) > deepest and _depth(data, deepest) > deepest:
        raise Rejected(400, "invalid_json", f"The JSON is nested more than {deepest} levels deep.")
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(400, "invalid_json", f"The body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Rejected(400, "invalid_json", "The body must be a JSON object.")
    if _LONG_NUMBER.search(data) and _beyond_64_bits(body):
        raise Rejected(400, "invalid_json", "The JSON holds a whole number beyond 64 bits.")
    return body


def _beyond_64_bits(body: dict[str, Any]) -> bool:
    """Whether an integer inside a parameter does not fit. Cost: a walk, of bodies with a long run of digits."""
    # Those of the first level have bounds of their own, which name the parameter.
    todo: list[Any] = [value for value in body.values() if isinstance(value, dict | list)]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, int) and not _LEAST <= value <= _MOST:
            return True
    return False


def _depth(data: bytes, enough: int) -> int:
    """The deepest nesting of brackets outside strings; stops counting past `enough`. Cost: linear in brackets."""
    depth = most = 0
    inside = False
    for match in _STRUCTURE.finditer(data):
        letter = match.group()
        if letter == b'"':
            inside = not inside
        elif inside or letter[:1] == b"\\":
            continue
        elif letter in b"[{":
            depth += 1
            most = max(most, depth)
            if most > enough:
                return most
        else:
            depth -= 1
    return most
