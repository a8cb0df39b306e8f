"""Answers that are files: streamed piece by piece, of any type; what goes wrong is JSON as everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse
from rest_framework.renderers import JSONRenderer

from api.problems import CONTENT_TYPE
from api.serializers import ProblemOutput


class Streamed(StreamingHttpResponse):
    """Pieces made by a plain generator; under ASGI each is made in the request's own thread when it is wanted.

    Django collects an ordinary iterator whole before an ASGI server gets its first byte, and the other way round.
    The generator runs when the scope of the request has closed: it opens its own.
    """

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


class AnyTypeRenderer(JSONRenderer):
    """Takes every `Accept`; the file itself names its type, and problems are JSON."""

    media_type = "*/*"


def file_responses(*content_types: str) -> dict[Any, Any]:
    """For the schema: a file of one of these types, or a problem."""
    files: dict[Any, Any] = {(200, each.partition(";")[0]): OpenApiTypes.BINARY for each in content_types}
    return {
        **files,
        ("default", CONTENT_TYPE): OpenApiResponse(ProblemOutput, description="Problem (RFC 9457)"),
    }
