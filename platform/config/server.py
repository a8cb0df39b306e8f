"""The web process: `python -m config.server`. uvicorn, with limits that a public edge needs (docs/adr/0006).

One process; several on one port share it through SO_REUSEPORT. daphne serves the same application
(`daphne config.asgi:application`), slower and without back-pressure.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from observability.health import start_draining

# What the head of a request may hold, bytes and lines. httptools itself knows no bounds.
HEAD_BYTES = 64 * 1024
HEAD_LINES = 200
# A connection that has not sent a complete request head after this long is closed, seconds.
HEAD_TIMEOUT_S = 10.0
SWITCH_S = 0.0005
DRAIN_S = 20


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds on the head of each request in time (slowloris), bytes and lines."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock for the first head."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(HEAD_TIMEOUT_S, self._head_late)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; give up on a head that does not end. Cost: a comparison where a body is on its way."""
        if self._head_timer is None:
            super().data_received(data)
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; what is raised here becomes a 400, and the end of the connection."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEAD_BYTES or len(self.headers) > HEAD_LINES:
            raise ValueError("the request's head is too large")

    def on_message_begin(self) -> None:
        """A head begins (also on a kept-alive connection)."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_late)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def _head_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = _until_close(app, cycle)
        super()._start_asgi_task(cycle, app)

    def _stop_timer(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _until_close(app: Any, cycle: Any) -> Any:
    """HTTP/1.0 knows no chunks, which uvicorn would send: an answer of unknown length ends with its connection."""

    async def until_close(scope: Any, receive: Any, send: Any) -> None:
        unknown = False

        async def plain(message: Any) -> None:
            nonlocal unknown
            if message["type"] == "http.response.start":
                unknown = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                if unknown:
                    cycle.chunked_encoding = False
            elif unknown:
                # uvicorn counts down what the head announced; here each piece announces itself.
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, plain)

    return until_close


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that other web processes of this machine may share."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, port))
    sock.set_inheritable(True)
    return sock


class DrainingServer(uvicorn.Server):
    """uvicorn's server; from the first signal on, `/readyz` says that it is draining."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking connections; what is in flight may finish."""
        start_draining()
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve until SIGTERM; then finish what is in flight, within `DRAIN_S`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    from django.conf import settings

    # The loop waits for the interpreter no longer than this when threads of ours (journal, call logs) are at work.
    sys.setswitchinterval(SWITCH_S)

    config = uvicorn.Config(
        "config.asgi:application",
        loop="uvloop",
        http=BoundedHttpProtocol,
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=None,
        ws_max_size=1024 * 1024,
        ws_max_queue=64,
        # SECURITY: forwarded addresses count only from proxies that the operator names.
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        h11_max_incomplete_event_size=64 * 1024,
    )
    sock = listen(os.environ.get("HOST", "127.0.0.1"), settings.PORT)
    DrainingServer(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
