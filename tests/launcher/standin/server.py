"""Stands in for the web process: answers 200 to those who bring the key, and leaves its environment to be seen."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

if os.environ.get("STANDIN_WEB") == "dies":
    sys.exit("no such setting")
Path(os.environ["ATRIUM_HOME"], "web-environment.json").write_text(json.dumps(dict(os.environ)))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    allowed = head.startswith("GET /readyz ") or "Bearer the-key" in head
    writer.write(
        b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % (200 if allowed else 401)
    )
    await writer.drain()
    writer.close()


async def main() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((os.environ["HOST"], int(os.environ["PORT"])))
    server = await asyncio.start_server(answer, sock=listener)
    await server.serve_forever()


asyncio.run(main())
