"""The web server's edge: heads bounded in bytes and lines, and answers that HTTP/1.0 clients understand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from config.server import HEAD_BYTES, HEAD_LINES, BoundedHttpProtocol, listen


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Two pieces of unknown length, or one of a known."""
    known = scope["path"] == "/known"
    headers = [(b"content-length", b"8")] if known else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number, body in enumerate((b"one ", b"more")):
        await send({"type": "http.response.body", "body": body, "more_body": number == 0})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    sock = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        application, http=BoundedHttpProtocol, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:
        await asyncio.sleep(0.005)
    yield sock.getsockname()[1]
    server.should_exit = server.force_exit = True
    await asyncio.wait_for(serving, 10)


async def said(port: int, *pieces: bytes) -> bytes:
    """All that the server says until it closes the connection, or until it has been silent for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := await asyncio.wait_for(reader.read(65536), 1):
            answer += piece
            if answer.endswith(b"0\r\n\r\n"):
                break
    writer.close()
    return answer


async def test_a_common_head_is_served(port: int) -> None:
    answer = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 50 + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"4\r\none \r\n4\r\nmore\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [b"A: " + b"b" * (HEAD_BYTES + 1) + b"\r\n", b"A: b\r\n" * (HEAD_LINES + 1)],
    ids=["bytes", "lines"],
)
async def test_a_head_beyond_its_bounds_is_refused(port: int, lines: bytes) -> None:
    answer = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


async def test_a_head_without_end_is_not_gathered_in_memory(port: int) -> None:
    piece = b"b" * 16_384
    answer = await said(port, b"GET / HTTP/1.1\r\nHost: x\r\nA: ", *[piece] * 8)
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", [b"/", b"/known"])
async def test_http_1_0_gets_no_chunks(port: int, path: bytes) -> None:
    answer = await said(port, b"GET " + path + b" HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == b"one more"
