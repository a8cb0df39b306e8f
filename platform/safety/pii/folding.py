"""Text as recognisers read it: full-width and other digits and letters as ASCII, one for one.

`fold` never changes the length, so that every offset stays what it was; a stream can be folded piece by piece.
`strip_ignorable` takes out what cannot be seen and keeps a map back.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

# Blocks with look-alikes of ASCII: super- and subscripts, letter-like, enclosed, mathematical, full-width.
_BLOCKS: Final = (
    *((0x2070, 0x209C), (0x2100, 0x214F), (0x2460, 0x24FF), (0xFE50, 0xFE6F), (0xFF01, 0xFFEE)),
    *((0x1D400, 0x1D7FF), (0x1FBF0, 0x1FBF9)),
)
_OTHER_DIGITS: Final = (
    *(0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66),
    *(0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x17E0, 0x1810),
)
_DASHES: Final = "‐‑‒–—―−﹘﹣－ー"
_SPACES: Final = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
_BRACKETS: Final = {"【": "[", "】": "]", "〔": "[", "〕": "]", "「": "[", "」": "]"}

_IGNORABLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]+"
)


def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for first, last in _BLOCKS:
        for code in range(first, last + 1):
            plain = unicodedata.normalize("NFKC", chr(code))
            if len(plain) == 1 and plain.isascii():
                table[code] = plain
    for zero in _OTHER_DIGITS:
        table.update({zero + digit: str(digit) for digit in range(10)})
    table.update({ord(dash): "-" for dash in _DASHES})
    table.update({ord(space): " " for space in _SPACES})
    table.update({ord(bracket): plain for bracket, plain in _BRACKETS.items()})
    return table


_TABLE: Final = _table()


def fold(text: str) -> str:
    """`text` with every look-alike of an ASCII character written as that character. Same length."""
    return text if text.isascii() else text.translate(_TABLE)


def strip_ignorable(text: str) -> tuple[str, Sequence[int] | None]:
    """`text` without invisible characters, and for each character left its place in `text`.

    None instead of the places when nothing was taken out. The places have one entry more than the text: its
    length.
    """
    if text.isascii() or _IGNORABLE.search(text) is None:
        return text, None
    places: list[int] = []
    kept: list[str] = []
    last = 0
    for match in _IGNORABLE.finditer(text):
        kept.append(text[last : match.start()])
        places.extend(range(last, match.start()))
        last = match.end()
    kept.append(text[last:])
    places.extend(range(last, len(text) + 1))
    return "".join(kept), places
