"""Just enough HTTP/1.1 over loopback to ask our own web process whether it serves."""

from __future__ import annotations

import asyncio
import json
from typing import Any


async def request(
    host: str, port: int, path: str, *, body: Any = None, key: str = "", timeout_s: float = 10.0
) -> int:
    """The status of one GET, or POST when there is a body; 0 when there was no answer in time."""
    try:
        return await asyncio.wait_for(_request(host, port, path, body, key), timeout_s)
    except (OSError, ValueError, IndexError, TimeoutError):
        return 0


async def _request(host: str, port: int, path: str, body: Any, key: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Connection: close",
        ]
        lines += [f"Content-Length: {len(content)}", "Content-Type: application/json"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        await reader.read()
        return status
    finally:
        writer.close()
