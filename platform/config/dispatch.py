"""Which application answers: the data plane, health, or Django. The first thing that runs for every connection."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from inference.gateway import gateway

Application = Callable[..., Awaitable[None]]

_DATA_PLANE = re.compile(r"(?:/t/[^/]+)?/v1(?:/|$)")
_HEALTH = frozenset({"/healthz", "/readyz", "/startupz"})


class Dispatcher:
    """Sends each connection on by its path; starts and drains the gateway with the server (ASGI lifespan)."""

    def __init__(self, *, data_plane: Application, health: Application, rest: Application) -> None:
        self._data_plane = data_plane
        self._health = health
        self._rest = rest

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "http":
            path = scope["path"]
            if _DATA_PLANE.match(path):
                await self._data_plane(scope, receive, send)
            elif path in _HEALTH:
                await self._health(scope, receive, send)
            else:
                await self._rest(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._rest(scope, receive, send)

    @staticmethod
    async def _lifespan(receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                # Not awaited: a server may start before Valkey does; the first request waits instead.
                gateway().spawn(gateway().start())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await gateway().close()
                await send({"type": "lifespan.shutdown.complete"})
                return
