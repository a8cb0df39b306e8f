"""A small real OpenAI-compatible server on loopback, which misbehaves on command.

It speaks HTTP/1.1 by itself (keep-alive, chunked streams) and lets a SimulatedEngine answer, so that what
comes through a RemoteEngine can be compared with what was meant. `Behaviour` says what goes wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from inference.worker.engines.simulated import SimulatedEngine
from inference.worker.port import Chunk, EngineRequest, Failure, Result

KINDS = {"/v1/chat/completions": "chat", "/v1/completions": "completion", "/v1/embeddings": "embedding"}


@dataclass
class Behaviour:
    """What the server does wrong from now on; nothing, as it is."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # instead of the answer, with `status`
    events: list[bytes] | None = None  # instead of the answer's events: raw bytes, unframed
    drop_connections: int = 0  # so many requests get no answer at all, their connection is closed
    silent: bool = False  # never answers
    cut_after: int | None = None  # events, after which the connection is closed
    hang_after: int | None = None  # events, after which nothing comes any more
    usage: bool = True
    usage_on_every_chunk: bool = False
    done: bool = True
    newline: bytes = b"\n"
    comments: bool = False
    write_bytes: int = 0  # events are written in pieces of so many bytes; 0: whole


@dataclass
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class OpenAIServer:
    """Starts on a free port of 127.0.0.1 with `start`, ends with `close`."""

    def __init__(
        self, engine_args: dict[str, Any], *, model: str = "upstream/model", credential: str = ""
    ) -> None:
        self.engine = SimulatedEngine(engine_args)
        self.model = model
        self.credential = credential
        self.behaviour = Behaviour()
        self.received: list[Received] = []
        self.connections = 0
        self.open_connections = 0
        self.port = 0
        self._ids = itertools.count()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        await self.engine.start()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for handler in tuple(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()
        await self.engine.close()

    async def hang_up(self) -> None:
        """Close every connection."""
        for handler in tuple(self._handlers):
            handler.cancel()
        await self.wait_until_quiet()

    async def wait_until_quiet(self) -> None:
        """Returns when no connection is open any more."""
        await self._quiet.wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.create_task(self._connection(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self._quiet.clear()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                ahead: bytes | None = b""
                while ahead is not None:
                    ahead = await self._request(ahead, reader, writer)
        finally:
            self.open_connections -= 1
            if not self.open_connections:
                self._quiet.set()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _request(
        self, ahead: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Serve one request, of which `ahead` has been read. Gives what has been read of the next one, or None when
        the connection cannot serve another."""
        head = (ahead + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        received = Received(method, path, headers, json.loads(raw) if raw else {})
        self.received.append(received)
        behaviour = self.behaviour
        if behaviour.drop_connections:
            behaviour.drop_connections -= 1
            return None
        work = asyncio.create_task(self._answer(received, writer))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():  # the client has left, or speaks out of turn
                return None
            if not work.result():
                return None
            return gone.result() or None if gone.done() else b""
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _answer(self, received: Received, writer: asyncio.StreamWriter) -> bool:
        behaviour = self.behaviour
        if behaviour.silent:
            await asyncio.Event().wait()
        if behaviour.body is not None:
            await self._plain(writer, behaviour.status, behaviour.body)
            return True
        if self.credential and received.headers.get("authorization") != f"Bearer {self.credential}":
            await self._error(writer, 401, f"Wrong key {received.headers.get('authorization')}")
            return True
        if received.path == "/v1/models":
            await self._plain(
                writer, 200, json.dumps({"object": "list", "data": [{"id": self.model}]}).encode()
            )
            return True
        if received.path not in KINDS:
            await self._error(writer, 404, "No such path.")
            return True
        if received.body.get("model") != self.model:
            await self._error(writer, 404, f"The model {received.body.get('model')} does not exist.")
            return True
        request = EngineRequest(
            id=f"upstream-{next(self._ids)}", kind=KINDS[received.path], body=received.body, salt=""
        )
        if request.stream:
            return await self._stream(request, writer)
        async with contextlib.aclosing(self.engine.run(request)) as events:
            async for event in events:
                assert isinstance(event, Result | Failure)
                payload = json.loads(event.payload)
                if not behaviour.usage:
                    payload.pop("usage", None)
                status = event.status if isinstance(event, Failure) else 200
                await self._plain(writer, status, json.dumps(payload).encode())
        return True

    async def _error(self, writer: asyncio.StreamWriter, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        await self._plain(writer, status, json.dumps({"error": error}).encode())

    async def _plain(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **self.behaviour.headers,
        }
        writer.write(_head(status, headers) + body)
        await writer.drain()

    async def _stream(self, request: EngineRequest, writer: asyncio.StreamWriter) -> bool:
        behaviour = self.behaviour
        headers = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **behaviour.headers}
        sent = 0
        begun = False
        async with contextlib.aclosing(self._events(request)) as events:
            async for event in events:
                if isinstance(event, Failure):
                    await self._plain(writer, event.status, event.payload)
                    return True
                if not begun:
                    writer.write(_head(200, headers))
                    begun = True
                if behaviour.hang_after is not None and sent >= behaviour.hang_after:
                    await asyncio.Event().wait()
                if behaviour.cut_after is not None and sent >= behaviour.cut_after:
                    return False
                await self._write(writer, event)
                sent += 1
        if behaviour.cut_after is not None and sent >= behaviour.cut_after:
            return False
        writer.write((b"" if begun else _head(200, headers)) + b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _events(self, request: EngineRequest) -> AsyncIterator[bytes | Failure]:
        """The framed events of a stream."""
        behaviour = self.behaviour
        if behaviour.events is not None:
            for raw in behaviour.events:
                yield raw
            return
        newline = behaviour.newline
        produced: dict[int, int] = {}
        async with contextlib.aclosing(self.engine.run(request)) as events:
            async for event in events:
                if isinstance(event, Failure):
                    yield event
                    return
                assert isinstance(event, Chunk)
                chunk = json.loads(event.payload)
                for index, tokens in event.tokens:
                    produced[index] = produced.get(index, 0) + len(tokens)
                if not chunk["choices"] and not behaviour.usage:
                    continue
                if behaviour.usage_on_every_chunk and chunk["choices"]:
                    count = produced.get(chunk["choices"][0]["index"], 0)
                    prompt = request.meter.prompt_tokens
                    chunk["usage"] = {
                        "prompt_tokens": prompt,
                        "completion_tokens": count,
                        "total_tokens": prompt + count,
                    }
                comment = b": keep-alive" + newline + newline if behaviour.comments else b""
                yield comment + b"data: " + json.dumps(chunk).encode() + newline + newline
        if behaviour.done:
            yield b"data: [DONE]" + newline + newline

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self.behaviour.write_bytes or len(data)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            await writer.drain()
            if self.behaviour.write_bytes:
                await asyncio.sleep(0)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
