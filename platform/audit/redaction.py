"""Keeps secrets out of the audit trail, by the same rules as the log (L19), in a form that PostgreSQL can
hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from observability.redaction import MASK, is_secret_field, redact_text


def clean_text(text: str, limit: int = 2_000) -> str:
    """`text` without anything that looks like a key, at most `limit` characters, without NUL (PostgreSQL)."""
    return redact_text(text.replace("\x00", ""))[:limit]


def clean(value: Any) -> Any:
    """A copy that can be stored as JSON: secrets masked, long texts cut, other types as their text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {
            clean_text(str(name), 100): MASK if is_secret_field(str(name)) and item else clean(item)
            for name, item in value.items()
        }
    if isinstance(value, set | frozenset):
        return sorted(clean(str(item)) for item in value)
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return clean_text(str(value))
