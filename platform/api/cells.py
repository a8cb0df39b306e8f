"""Cells that a spreadsheet shows as what they are, whatever a client wrote into them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

# What spreadsheets take for the beginning of a formula, the ways round by blanks included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")


def harmless(value: Any) -> Any:
    """`value`, with an apostrophe before text that a spreadsheet would run as a formula.

    SECURITY: model names, tags and end users come from clients; their text is opened by accountants (CSV injection).
    Numbers stay numbers, also below zero.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA) and not _is_number(value):
        return "'" + value
    return value


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV (RFC 4180), harmless."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["" if cell is None else harmless(cell) for cell in row] for row in rows])
    return text.getvalue()


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit()
