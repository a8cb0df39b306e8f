"""JSON bodies with bounds: size, depth, and nothing that two readers could read in two ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from api.problems import Problem

MAX_BODY_BYTES = 256 * 1024
MAX_ITEMS = 20_000  # values in one body, however they are nested


class BoundedJSONParser(BaseParser):
    """Strict JSON: no duplicate names, no NaN, no lone surrogates, at most MAX_BODY_BYTES and
    MAX_JSON_DEPTH.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The parsed body. Raises Problem (413) or ParseError (400)."""
        raw = stream.read(MAX_BODY_BYTES + 1)
        if len(raw) > MAX_BODY_BYTES:
            raise too_large()
        try:
            value = json.loads(
                raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
            )
        except RecursionError as error:
            raise ParseError(_too_deep()) from error
        except UnicodeDecodeError as error:
            raise ParseError(_("The body is not UTF-8.")) from error
        except json.JSONDecodeError as error:
            # Position only: the parser's own message may quote the body.
            raise ParseError(
                _("The body is not JSON (line %(line)d, column %(column)d).")
                % {"line": error.lineno, "column": error.colno}
            ) from error
        except ValueError as error:
            raise ParseError(
                str(error) if isinstance(error, _Refused) else _("The body is not JSON.")
            ) from error
        _measure(value)
        return value


class _Refused(ValueError):
    pass


def too_large(limit: int = MAX_BODY_BYTES) -> Problem:
    """413 for a body over the limit."""
    return Problem(413, "too_large", _("The body is larger than %(limit)d bytes.") % {"limit": limit})


class PlainTextParser(BaseParser):
    """A text body as it is, for actions that take files; bounded by the viewset (`body_limits`)."""

    media_type = "text/plain"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The bytes; whoever takes them decodes them, and can say in which line that fails."""
        return stream.read()


class CSVParser(PlainTextParser):
    """A CSV body as it is."""

    media_type = "text/csv"


def _too_deep() -> str:
    return _("The body is nested more than %(limit)d levels deep.") % {"limit": settings.MAX_JSON_DEPTH}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # SECURITY: with duplicates, a check may read one value and the service the other.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Refused(_("The body names one field twice."))
    return value


def _refuse_constant(name: str) -> Any:
    raise _Refused(_("%(name)s is no JSON number.") % {"name": name})


def _measure(value: Any) -> None:
    """Walk the body once, without recursion: depth, number of values, text that the database could not
    store.
    """
    items = 0
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        items += 1
        if depth > settings.MAX_JSON_DEPTH:
            raise ParseError(_too_deep())
        if items > MAX_ITEMS:
            raise ParseError(_("The body holds more than %(limit)d values.") % {"limit": MAX_ITEMS})
        if isinstance(node, str):
            _refuse_unstorable(node)
        elif isinstance(node, dict):
            for name, inner in node.items():
                _refuse_unstorable(name)
                waiting.append((inner, depth + 1))
        elif isinstance(node, list):
            waiting.extend((inner, depth + 1) for inner in node)


def _refuse_unstorable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        raise ParseError(_("The body holds characters that are no text.")) from error
    if "\x00" in text:
        raise ParseError(_("The body holds characters that are no text."))
