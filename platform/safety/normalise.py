"""Text as a reader sees it, letter by letter, whatever was done to its code points.

Every code point is folded by itself, without looking at its neighbours: compatibility decomposition (NFKD, so that
both composed and decomposed text end the same), accents and other marks that are put on top dropped, case folded,
letters that look like a Latin one written as that, traditional characters written as simplified ones, any
script's digits as ASCII. So a stream may be cut anywhere, also inside a combining sequence.

Between letters there may be a gap: none, joints (`. - _ * 💣`), blanks, or hard punctuation that ends a
phrase (`, 。 ( "` and new lines). What cannot be seen (zero width, bidi, marks) is no gap. A gap of more than
`MAX_VISIBLE` visible or `MAX_HIDDEN` invisible code points is a break, over which nothing matches: that bounds
what a stream must remember.

`Letters` keeps, for each folded letter, where it came from and what the gap before it was. `narrow` is the lighter
form that patterns read: characters one for one, only full-width and other forms of ASCII written as ASCII and
invisible characters left out.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

# What a code point is.
LETTER: Final = 0  # of a script that separates words by blanks; digits too
DENSE: Final = 1  # of a script that does not: Han, kana, Thai …
JOINT: Final = 2
BLANK: Final = 3
HARD: Final = 4
HIDDEN: Final = 5

# What stands before a letter, in three bits of its flags. JOINT, BLANK and HARD as above.
NONE: Final = 0
BREAK: Final = 5  # the beginning of the text, or a gap that is too long
GAP: Final = 7  # mask
IS_DENSE: Final = 8
LOOKALIKE: Final = 16  # a letter of another script that was written as Latin
FOREIGN: Final = 32  # a letter of such a script that looks like no Latin one

MAX_VISIBLE: Final = 16
MAX_HIDDEN: Final = 256

# A line may end anywhere in a phrase: its end is a blank. The ends of pages and paragraphs are not.
_LINES: Final = frozenset("\x0b\x0c\x1c\x1d\x1e\u2029")
_BLANK_LETTERS: Final = frozenset("\u3164\uffa0\u2800")  # letters by category, blank to the eye
_HIDDEN_LETTERS: Final = frozenset("\u115f\u1160\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f\u0640")
# Marks that are put on a letter and leave it readable. Vowel signs of Indic and other scripts are not among them.
_MARKS: Final = (
    *(
        (0x0300, 0x036F),
        (0x0483, 0x0489),
        (0x0591, 0x05C7),
        (0x0610, 0x061A),
        (0x064B, 0x065F),
        (0x0670, 0x0670),
    ),
    *(
        (0x06D6, 0x06ED),
        (0x1AB0, 0x1AFF),
        (0x1DC0, 0x1DFF),
        (0x20D0, 0x20FF),
        (0x302A, 0x302D),
        (0xFE00, 0xFE0F),
    ),
    *((0xFE20, 0xFE2F), (0xE0000, 0xE0FFF)),
)
_DENSE: Final = (
    *(
        (0x0E00, 0x0EFF),
        (0x1000, 0x109F),
        (0x1780, 0x17FF),
        (0x2E80, 0x312F),
        (0x31A0, 0x31BF),
        (0x31F0, 0x31FF),
    ),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
_HARD: Final = frozenset(',;:!?"。、¿¡…؟،؛।')
_HARD_CATEGORIES: Final = frozenset({"Ps", "Pe", "Pi", "Pf"})
_LETTERS_WITH_STROKES: Final = {
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ħ": "h",
    "ŧ": "t",
    "ƀ": "b",
    "ɨ": "i",
    "ƶ": "z",
}
_SCRIPTS: Final = ("CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE", "LISU")
# Letters in circles and squares, and those that flags are made of: no decomposition in Unicode's table.
_ENCLOSED: Final = ((0x1F150, 0x1F169), (0x1F170, 0x1F189), (0x1F1E6, 0x1F1FF))
_CACHED: Final = 40_000  # code points whose form is kept; the rest is worked out again each time


class Character(NamedTuple):
    """One code point, read."""

    kind: int
    folded: str  # its letters; empty unless kind is LETTER or DENSE
    flags: int  # of the first letter: IS_DENSE, LOOKALIKE, FOREIGN
    more: bytes = b""  # of the other letters, for the few code points that have several


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)


@cache
def simplified() -> dict[str, str]:
    """Traditional character to simplified, OpenCC's first choice. About 4,000."""
    text = resources.files("opencc").joinpath("dictionary", "TSCharacters.txt").read_text("utf-8")
    pairs = (line.split("\t") for line in text.splitlines() if "\t" in line)
    table = {old: new.split(" ")[0] for old, new in pairs}
    return {old: new for old, new in table.items() if len(old) == len(new) == 1 and old != new}


@cache
def lookalikes() -> dict[str, str]:
    """Letters of other scripts, and odd Latin ones, to the Latin letter that they look like. A few hundred.

    From Unicode's table of confusable characters: letters only, no digits, no ideographs. The two cases of a letter
    go the same way where only one of them looks like a Latin letter (`В` like B, hence also `в`), so that case
    makes no difference to words of that script either.
    """
    source = resources.files("confusable_homoglyphs").joinpath("confusables.json").read_text("utf-8")
    listed = json.loads(source)
    table: dict[str, str] = {}
    for latin in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for entry in listed.get(latin, ()):
            letter = entry["c"].strip("\u200e")
            if len(letter) == 1 and _may_stand_for_latin(letter):
                table.setdefault(letter, latin.lower())
    for letter, latin in list(table.items()):
        for other in (letter.lower(), letter.upper()):
            if len(other) == 1 and not other.isascii():
                table.setdefault(other, latin)
    return table


def _may_stand_for_latin(letter: str) -> bool:
    if letter.isascii() or not letter.isalpha() or unicodedata.normalize("NFKD", letter) != letter:
        return False
    return unicodedata.name(letter, "").startswith((*_SCRIPTS, "LATIN"))


def _fold(character: str) -> str:
    """The letters and digits of one code point."""
    if "\uac00" <= character <= "\ud7a3":
        return character  # Hangul stays in syllables
    if _within(ord(character), _ENCLOSED):
        code = ord(character)
        first = next(first for first, last in _ENCLOSED if first <= code <= last)
        return chr(ord("a") + code - first)
    similar, plain = lookalikes(), simplified()
    found: list[str] = []
    for part in unicodedata.normalize("NFKD", character):
        for letter in (similar[part],) if part in similar else part.casefold():
            letter = _LETTERS_WITH_STROKES.get(letter, similar.get(letter, letter))
            letter = plain.get(letter, letter)
            if letter.isdecimal() and not letter.isascii():
                letter = str(unicodedata.decimal(letter))
            if letter.isalnum() or _is_vowel_sign(letter):
                found.append(letter)
    return "".join(found)


def _is_vowel_sign(letter: str) -> bool:
    return unicodedata.category(letter) in ("Mn", "Mc") and not _within(ord(letter), _MARKS)


def _read(character: str) -> Character:
    category = unicodedata.category(character)
    code = ord(character)
    if character in _LINES:
        return Character(HARD, "", 0)
    if character.isspace() or character in _BLANK_LETTERS:
        return Character(BLANK, "", 0)
    if category in ("Cf", "Cc", "Me") or character in _HIDDEN_LETTERS or _within(code, _MARKS):
        return Character(HIDDEN, "", 0)
    folded = _fold(character)
    if folded:
        foreign = unicodedata.name(character, "").startswith(_SCRIPTS)
        flags = bytes(_flags_of(letter, foreign=foreign) for letter in folded)
        return Character(DENSE if flags[0] & IS_DENSE else LETTER, folded, flags[0], flags[1:])
    first = unicodedata.normalize("NFKD", character).strip()[:1]
    if first in _HARD or character in _HARD or category in _HARD_CATEGORIES:
        return Character(HARD, "", 0)
    return Character(JOINT, "", 0)


def _flags_of(letter: str, *, foreign: bool) -> int:
    """Of one folded letter: the same whether it was written by itself or in a sign such as `㋀`."""
    if _within(ord(letter), _DENSE):
        return IS_DENSE
    return (LOOKALIKE if letter.isascii() else FOREIGN) if foreign else 0


class _Characters(dict[str, Character]):
    """Code points that were read before. Bounded: a text may hold every one there is."""

    def __missing__(self, character: str) -> Character:
        read = _read(character)
        if len(self) < _CACHED:
            self[character] = read
        return read


_CHARACTERS: Final = _Characters()


def character(point: str) -> Character:
    """What one code point is, and its letters."""
    return _CHARACTERS[point]


def _as_sign(text: str) -> Character:
    return Character(DENSE, text, IS_DENSE, bytes([IS_DENSE]) * (len(text) - 1))


class _Literals(dict[str, Character]):
    """The same where signs count as letters."""

    def __missing__(self, point: str) -> Character:
        read = _CHARACTERS[point]
        if read.kind in (JOINT, HARD) and point not in _LINES:
            plain = unicodedata.normalize("NFKC", point)
            read = _as_sign(plain if plain.strip() else point)
        if len(self) < _CACHED:
            self[point] = read
        return read


_LITERALS: Final = _Literals()


def as_literal(point: str) -> Character:
    """The same where signs count as letters: for words such as `C++` or `🔞`."""
    return _LITERALS[point]


class _Folding(dict[int, str]):
    """Code point → its letters, for `str.translate`."""

    def __init__(self, read: Callable[[str], Character]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, code: int) -> str:
        folded = self._read(chr(code)).folded
        if len(self) < _CACHED:
            self[code] = folded
        return folded


_FOLDINGS: Final = {False: _Folding(character), True: _Folding(as_literal)}


def letters_of(text: str, *, literal: bool = False) -> str:
    """All letters of a whole text, folded and without what is between them; signs too where they are literal."""
    return text.translate(_FOLDINGS[literal])


# Runs whose letters need no look at each: ASCII letters and digits, and common Han characters.
_RUNS: Final = re.compile("([0-9A-Za-z]{2,})|([\u4e00-\u9fff]{2,})|.", re.DOTALL)
_SHORT: Final = 24  # code points that are read one by one sooner than in runs


@cache
def _simplify() -> dict[int, str]:
    return {ord(old): new for old, new in simplified().items()}


class Letters:
    """The folded letters of a stream that may still be part of a match, and some before them.

    Letters are numbered from the beginning of the stream; `first` is the number of the oldest kept one.
    """

    __slots__ = ("_hidden", "_read", "_visible", "ats", "ends", "first", "flags", "gap", "text")

    CONTEXT: Final = 40  # letters kept before the ones that matter

    def __init__(self, read: Callable[[str], Character] = character) -> None:
        self.text = ""
        self.ats: list[int] = []  # code point of the stream where each letter came from
        self.flags = bytearray()  # gap before it, IS_DENSE, LOOKALIKE, FOREIGN
        self.first = 0
        self.gap = BREAK  # after the last letter, so far
        self._visible = 0
        self._hidden = 0
        self._read = read

    @property
    def end(self) -> int:
        """The number that the next letter will have."""
        return self.first + len(self.text)

    def feed(self, piece: str, offset: int) -> None:
        """Take the next code points of the stream; the first of them is number `offset`."""
        if len(piece) <= _SHORT:
            self.text += self._points(piece, offset)
            return
        parts: list[str] = []
        ats, flags = self.ats, self.flags
        for match in _RUNS.finditer(piece):
            run, kind = match.group(), match.lastindex
            at = offset + match.start()
            if kind is None:
                parts.append(self._points(run, at))
                continue
            size = len(run)
            if kind == 1:
                parts.append(run.lower())
                flags.append(self.gap)
                flags.extend(bytes(size - 1))
            else:
                parts.append(run.translate(_simplify()))
                flags.append(self.gap | IS_DENSE)
                flags.extend(b"\x08" * (size - 1))
            ats.extend(range(at, at + size))
            self.gap = self._visible = self._hidden = 0
        self.text += "".join(parts)

    def _points(self, piece: str, at: int) -> str:
        """The letters of some code points, one after the other."""
        letters = ""
        gap, read = self.gap, self._read
        for point in piece:
            kind, folded, flags, more = read(point)
            if kind <= DENSE:
                letters += folded
                self.ats.append(at)
                self.flags.append(gap | flags)
                if more:
                    self.ats.extend([at] * len(more))
                    self.flags.extend(more)
                gap = self._visible = self._hidden = 0
            else:
                gap = self._widened(gap, kind)
            at += 1
        self.gap = gap
        return letters

    def _widened(self, gap: int, kind: int) -> int:
        """The gap, with one more code point that is no letter."""
        if kind == HIDDEN:
            self._hidden += 1
        else:
            self._visible += 1
            gap = max(gap, kind)
        return BREAK if self._visible > MAX_VISIBLE or self._hidden > MAX_HIDDEN else gap

    def forget(self, before: int) -> None:
        """Letters before number `before` cannot be part of a match any more."""
        spare = before - self.CONTEXT - self.first
        if spare > 512:
            self.text = self.text[spare:]
            del self.ats[:spare]
            del self.flags[:spare]
            self.first += spare


def folded(text: str, read: Callable[[str], Character] = character) -> Letters:
    """All letters of a short text, such as a word of a list."""
    letters = Letters(read)
    letters.feed(text, 0)
    return letters


_DASHES: Final = "‐‑‒–—―−﹘﹣－ー"
_BRACKETS: Final = {"【": "[", "】": "]", "〔": "[", "〕": "]", "「": "[", "」": "]"}


class _Narrow(dict[int, str | None]):
    """Code point to its ASCII form, to nothing when it is invisible, or to itself. For `str.translate`."""

    def __missing__(self, code: int) -> str | None:
        value = _narrowed(chr(code))
        if len(self) < _CACHED:
            self[code] = value
        return value


def _narrowed(point: str) -> str | None:
    category = unicodedata.category(point)
    if point.isascii():
        return point
    if category == "Cf" or point in _HIDDEN_LETTERS - {"\u0640"} or 0xFE00 <= ord(point) <= 0xFE0F:
        return None
    if 0xE0000 <= ord(point) <= 0xE0FFF:
        return None
    if category == "Cs":
        return "\ufffd"  # half of a pair: UTF-8 has no form for it
    if point in _DASHES:
        return "-"
    if point.isdecimal():
        return str(unicodedata.decimal(point))
    plain = _BRACKETS.get(point) or unicodedata.normalize("NFKC", point)
    return plain if len(plain) == 1 and plain.isascii() else point


NARROW: Final[dict[int, str | None]] = _Narrow()


def narrow(text: str) -> str:
    """`text` with forms of ASCII written as ASCII, and without what cannot be seen. Never longer than `text`."""
    return text if text.isascii() else text.translate(NARROW)
