"""What a recogniser is, and what all of them need: the words before a candidate and its borders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

# Code points before a candidate that a recogniser may look at. They may have left a stream already.
WINDOW: Final = 64

Span: TypeAlias = tuple[int, int]


class Match(NamedTuple):
    """One piece of personal data: what it is, and where, in code points of the text."""

    entity: str
    start: int
    end: int


class Recogniser(NamedTuple):
    """How one kind of personal data is found.

    `pattern` finds candidates in text that `safety.pii.fold` went over. It is in RE2's syntax with every
    repetition bounded, is meant for leftmost-longest matching, and takes a character or two after the data
    along where the border matters, since RE2 cannot look ahead. `spans` says which parts of a candidate are
    the data: given the candidate and up to `WINDOW` code points before it, their places in the candidate, in
    order, none when it was a false alarm. It checks lengths, check digits, borders and words nearby; never
    raises. `valid` is the short form of it, for a candidate with nothing before it.
    """

    entity: str
    pattern: str
    longest: int  # code points of the longest candidate
    valid: Callable[[str], bool] | None
    context: tuple[str, ...]  # words that make an ambiguous form count, lower case; `spans` looks for them
    label: str  # what a mask says, in brackets
    spans: Callable[[str, str], Sequence[Span]]


def recogniser(
    entity: str,
    label: str,
    pattern: str,
    longest: int,
    spans: Callable[[str, str], Sequence[Span]],
    context: tuple[str, ...] = (),
) -> Recogniser:
    """A recogniser whose `valid` follows from `spans`."""
    return Recogniser(entity, pattern, longest, lambda text: bool(spans(text, "")), context, label, spans)


def words(*texts: str) -> tuple[str, ...]:
    """Words out of `texts` that separate them by `|`."""
    return tuple(word for text in texts for word in text.split("|"))


def any_of(choices: Iterable[str]) -> str:
    """A pattern for one of `choices`. Latin words match whole words only; `_` counts as a border."""
    latin: list[str] = []
    other: list[str] = []
    for choice in choices:
        (latin if choice.isascii() else other).append(re.escape(choice).replace(r"\ ", r"[ _-]?"))
    parts = [rf"(?<![a-z])(?:{'|'.join(latin)})(?![a-z])"] if latin else []
    return "|".join(parts + other)


_TAIL = re.compile(r"([A-Za-z0-9]+)[-_/.#]$")


def glued(before: str, allowed: tuple[str, ...] = ()) -> bool:
    """Whether what follows `before` is the tail of a longer code, such as `SKU-…`, `/item/…` or `3.…`.

    A word of `allowed` in front of the separator does not count: `tel-138…` is a number.
    """
    if not before:
        return False
    last = before[-1]
    if last.isascii() and (last.isalnum() or last in "_"):
        return True
    tail = _TAIL.search(before[-24:])
    return tail is not None and tail[1].lower() not in allowed
