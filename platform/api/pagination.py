"""Cursor pagination: `{results, next, previous}`, stable while rows are added, and cheap however far one
goes.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any
from urllib.parse import parse_qs

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework import pagination
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from api.problems import Problem

CURSOR_PARAM = "cursor"
PAGE_SIZE_PARAM = "page_size"
MAX_PAGE_SIZE = 200
MAX_CURSOR_LENGTH = 512


class CursorPagination(pagination.CursorPagination):
    """Newest first by id: ids are time-ordered (UUIDv7) and unique, so a cursor never skips or repeats a
    row.
    """

    ordering = "-id"
    cursor_query_param = CURSOR_PARAM
    page_size_query_param = PAGE_SIZE_PARAM
    max_page_size = MAX_PAGE_SIZE

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        """By id; a view whose index orders by time says so (`cursor_ordering`)."""
        ordering: tuple[str, ...] = getattr(view, "cursor_ordering", (self.ordering,))
        return ordering

    def get_page_size(self, request: Request) -> int:
        """The page's size; refuses what is no number between 1 and the limit instead of guessing."""
        text = request.query_params.get(PAGE_SIZE_PARAM)
        if text is None:
            return int(self.page_size or 50)
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MAX_PAGE_SIZE:
            message = _("Give a number from 1 to %(limit)d.") % {"limit": MAX_PAGE_SIZE}
            raise Problem(400, "invalid", message, field=PAGE_SIZE_PARAM)
        return int(text)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """One page of rows. A cursor that we did not write is the caller's mistake: 400."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (NotFound, ValidationError, ValueError) as error:
            raise _forged() from error

    def decode_cursor(self, request: Request) -> pagination.Cursor | None:
        """The cursor of the request. Raises Problem for text that `encode_cursor` cannot have written."""
        text = request.query_params.get(CURSOR_PARAM)
        if text is None:
            return None
        try:
            parts = parse_qs(
                b64decode(text[:MAX_CURSOR_LENGTH], validate=True).decode("ascii"), strict_parsing=True
            )
        except ValueError as error:
            raise _forged() from error
        if not parts or not set(parts) <= {"o", "r", "p"} or len(text) > MAX_CURSOR_LENGTH:
            raise _forged()
        return super().decode_cursor(request)

    def get_paginated_response(self, data: Any) -> Response:
        """The envelope."""
        return Response({"results": data, "next": self.get_next_link(), "previous": self.get_previous_link()})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The envelope's schema."""
        link = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link},
        }


def _forged() -> Problem:
    return Problem(400, "invalid", _("This is no cursor of ours."), field=CURSOR_PARAM)
