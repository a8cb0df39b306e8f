"""Identifiers: UUIDv7 inside, `<prefix>_<base32>` outside (Crockford's alphabet, 26 characters)."""

from __future__ import annotations

from uuid import UUID

import uuid_utils

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 26


def new_id() -> UUID:
    """A new time-ordered id (UUIDv7, RFC 9562)."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def public_id(prefix: str, value: UUID) -> str:
    """The outside form of `value`, e.g. `key_01k9…`: the same order, no ambiguous letters."""
    number = value.int
    letters = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, 32)
        letters.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(letters))}"


def parse_public_id(text: str, prefix: str) -> UUID:
    """The id inside `text`. Raises ValueError when the prefix or the form is not right."""
    head, separator, tail = text.partition("_")
    if not separator or head != prefix or len(tail) != _LENGTH:
        raise ValueError(f"not an id of the form {prefix}_…")
    number = 0
    for letter in tail:
        if letter not in _VALUE:
            raise ValueError(f"not an id of the form {prefix}_…")
        number = number * 32 + _VALUE[letter]
    if number >= 1 << 128:
        raise ValueError(f"not an id of the form {prefix}_…")
    return UUID(int=number)
