"""A streamed answer that both kinds of server read piece by piece.

Django collects an ordinary iterator whole before an ASGI server gets its first byte, and the other way round.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse


class Streamed(StreamingHttpResponse):
    """Pieces made by a plain generator; under ASGI each is made in the request's own thread when it is wanted."""

    def __init__(self, pieces: Iterator[bytes], *, filename: str, content_type: str) -> None:
        super().__init__(pieces, content_type=content_type)
        self._pieces = pieces
        self["Content-Disposition"] = f'attachment; filename="{filename}"'
        self["Cache-Control"] = "no-store"
        self["X-Accel-Buffering"] = "no"  # proxies pass it on as it comes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces, for ASGI."""
        take: Any = sync_to_async(next)
        while (piece := await take(self._pieces, None)) is not None:
            yield piece
