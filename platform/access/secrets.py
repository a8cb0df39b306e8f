"""The form of an API key: `atr-<8 letters>-<43 letters of chance><6 letters of checksum>`.

The checksum (CRC-32, base 62) tells a mistyped or cut key from a wrong one without a lookup, and lets
scanners of public code recognise a leaked one. It is no protection: the 256 bits of chance are.
"""

from __future__ import annotations

import re
import secrets
import zlib
from typing import Final

from core.encryption import keyed_digest

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_PREFIX_LENGTH: Final = 8
_CHECKSUM_LENGTH: Final = 6
_FORM: Final = re.compile(r"atr-[a-z0-9]{8}-[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}", re.ASCII)
LENGTH: Final = len("atr--") + _PREFIX_LENGTH + 43 + _CHECKSUM_LENGTH


def new_secret() -> str:
    """A new key, 256 bits of chance."""
    prefix = "".join(secrets.choice(_PREFIX_LETTERS) for _ in range(_PREFIX_LENGTH))
    body = f"atr-{prefix}-{secrets.token_urlsafe(32)}"
    return body + _checksum(body)


def looks_right(text: str) -> bool:
    """True when form and checksum fit. Costs microseconds and no lookup; says nothing about whether the key
    exists."""
    if len(text) != LENGTH or _FORM.fullmatch(text) is None:
        return False
    return _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def prefix_of(secret: str) -> str:
    """The eight letters by which people tell keys apart."""
    return secret[4 : 4 + _PREFIX_LENGTH]


def digest(text: str) -> str:
    """What is stored and looked up instead of the key: a keyed hash of the whole of it."""
    return keyed_digest("api-key", text)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    letters = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        letters.append(_BASE62[digit])
    return "".join(reversed(letters))
