"""Regular expressions over a stream: RE2, never backtracking, with exactly what may still become a match held back.

Patterns read `narrow` text: invisible characters are not there, full-width and other forms of ASCII are ASCII.
The longest match at the leftmost place counts, then the search goes on behind it. A match has at most
`MAX_BYTES` bytes of UTF-8 (detectors: what they say): of a longer one the longest part within that counts. So every
pattern is held back to a bound, also one with `+` and `*`, and no cut makes a difference. What waits for long is
looked at again only when an eighth more has come: that keeps a long candidate linear, and holds it an eighth longer.

A pattern is refused when it may match nothing, when it begins with an endless repetition of about any character
(every text would be its beginning, and be late for nothing: what follows is found without it), and when its program
is too large.

For each pattern there is a second one of everything that a match may begin with (`safety.beginnings.closure`). The
leftmost place from which it reaches the end of the text is where text must wait. Both are joined for all patterns of
a group, and asked whether either is there at all: ordinary text costs one search, however many patterns there are.
Every search runs forward. Backwards from the end, as RE2 does when it is asked where a match begins, a pattern with a
long body (a private key) is in all its states at once: that took 350 µs for a token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import re2
from django.utils.translation import gettext as _
from re2 import _re2

from safety.automaton import Hit
from safety.beginnings import (
    begins_anywhere,
    closure,
    longest,
    looks_ahead,
    may_be_empty,
    without_large_counts,
)
from safety.normalise import NARROW, narrow
from safety.syntax import BadPattern, Node, parse, source

MAX_BYTES: Final = 1_024
MAX_DETECTOR_BYTES: Final = 32_768
MAX_PROGRAM: Final = 10_000  # instructions of RE2
BEFORE: Final = 64  # code points before a candidate that a detector may look at
_MEMORY: Final = 8 << 20  # bytes of one RE2 object, its caches included
_DETECTOR_MEMORY: Final = 64 << 20
_GROUP_PROGRAM: Final = 20_000
_CONTEXT_BYTES: Final = 4 * BEFORE
_ANYWHERE: Final = _re2.RE2.Anchor.UNANCHORED
_HERE: Final = _re2.RE2.Anchor.ANCHOR_START
_ALL_OF_IT: Final = _re2.RE2.Anchor.ANCHOR_BOTH
_NOWHERE: Final = (-1, -1)
_LONG: Final = 256  # bytes; a candidate that waits for longer is looked at again when an eighth more has come
_LEADING: Final = re.compile(rb"[0-9A-Za-z]+")

# The parts of a candidate that count, given it and up to BEFORE code points before it; none for a false alarm.
Spans = Callable[[str, str], Sequence[tuple[int, int]]]


def _compiled(pattern: str, memory: int) -> Any:
    options = re2.Options()
    options.longest_match = True
    options.never_capture = True
    options.log_errors = False
    options.max_mem = memory
    program = _re2.RE2(pattern.encode(), options)
    if not program.ok():
        error = program.error()
        raise BadPattern(error.decode("utf-8", "replace") if isinstance(error, bytes) else str(error))
    return program


class Pattern:
    """One pattern, ready to run. Immutable."""

    __slots__ = ("begin", "limit", "main", "node", "open", "rule", "spans", "whole")

    def __init__(self, rule: int, node: Node, limit: int, memory: int, spans: Spans | None) -> None:
        self.rule = rule
        self.node = node
        self.spans = spans
        self.limit = limit
        self.whole = source(node)
        self.main = _compiled(self.whole, memory)
        self.open = closure(node, complete=looks_ahead(node))
        self.begin = None if self.open is None else _compiled(self.open, memory)


def _at_the_end(pattern: str) -> str:
    return f"(?:(?:{pattern})\\z)"


def _anywhere(pattern: str) -> str:
    """What finds the pattern from a place on, and says nothing of where it begins."""
    return f"(?s:.)*(?:{pattern})"


def tenant_pattern(rule: int, text: str) -> Pattern:
    """A pattern that a person wrote. Raises BadPattern with a sentence that says what is wrong with it."""
    node = parse(text)
    _compiled(text, _MEMORY)  # what RE2 refuses is refused, whatever the parser makes of it
    if may_be_empty(node):
        raise BadPattern(
            _("The pattern may match nothing at all. Write + for *, or name at least one character.")
        )
    if begins_anywhere(node):
        raise BadPattern(
            _(
                "The pattern begins with a repetition of any character, so every text would have to wait for its "
                "end. Leave the repetition out: matches are found anywhere."
            )
        )
    pattern = _ready(rule, node, _limit(node, MAX_BYTES), _MEMORY, None)
    if pattern.main.ProgramSize() > MAX_PROGRAM:
        raise BadPattern(_("The pattern is too large. Use smaller counts in its repetitions."))
    return pattern


def detector_pattern(rule: int, text: str, spans: Spans) -> Pattern:
    """A pattern of a detector of ours, whose candidates `spans` looks at. Raises BadPattern.

    Repetitions of 500 times and more are bounded by the longest match as a whole, and not one by one.
    """
    node = parse(text)
    if may_be_empty(node):
        raise BadPattern("the pattern of a detector must not match nothing")
    limit = _limit(node, MAX_DETECTOR_BYTES)
    return _ready(rule, without_large_counts(node), limit, _DETECTOR_MEMORY, spans)


def _limit(node: Node, most: int) -> int:
    """Bytes of the longest match of a pattern, and `most` at most."""
    characters = longest(node)
    return most if characters is None else min(most, 4 * characters)


def _ready(rule: int, node: Node, limit: int, memory: int, spans: Spans | None) -> Pattern:
    try:
        return Pattern(rule, node, limit, memory, spans)
    except BadPattern as error:
        raise BadPattern(_("The pattern is too large. Use smaller counts in its repetitions.")) from error


class _Group(NamedTuple):
    """Several patterns in one program. All are asked at the place where the text begins that is looked at."""

    probe: Any  # a match anywhere, or the beginning of one that reaches the end
    main: Any  # a match anywhere
    begin: Any  # the beginning of one
    limit: int


class Patterns:
    """Patterns that are looked for together, immutable and shared by all streams."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self.groups = tuple(_grouped(self.patterns))

    def may_match(self, data: bytes) -> bool:
        """Whether any pattern is found in a whole narrow text, UTF-8."""
        size = len(data)
        return any(group.main.Match(_HERE, data, 0, size)[0] != _NOWHERE for group in self.groups)

    def stream(self, view: View) -> PatternStream:
        """The state of one stream, over a `view` that other patterns may share."""
        return PatternStream(self, view)


def _grouped(patterns: Sequence[Pattern]) -> Iterable[_Group]:
    together: list[Pattern] = []
    size = 0
    for pattern in patterns:
        own = pattern.main.ProgramSize()
        if together and size + own > _GROUP_PROGRAM:
            yield from _group(together)
            together, size = [], 0
        together.append(pattern)
        size += own
    if together:
        yield from _group(together)


def _group(patterns: Sequence[Pattern]) -> Iterable[_Group]:
    """One program of all of them; two where it would be too large."""
    begins = [f"(?:{pattern.open})" for pattern in patterns if pattern.open is not None]
    mains = "|".join(f"(?:{pattern.whole})" for pattern in patterns)
    ends = [_at_the_end("|".join(begins))] if begins else []
    try:
        probe = _compiled(_anywhere("|".join([mains, *ends])), _DETECTOR_MEMORY)
        main = _compiled(_anywhere(mains), _DETECTOR_MEMORY)
        begin = _compiled("|".join(begins), _DETECTOR_MEMORY) if begins else None
    except BadPattern:
        if len(patterns) == 1:
            raise
        half = len(patterns) // 2
        yield from _group(patterns[:half])
        yield from _group(patterns[half:])
        return
    yield _Group(probe, main, begin, max(pattern.limit for pattern in patterns))


class View:
    """Narrow text of a stream that may still be part of a match, and some before it, as bytes of UTF-8.

    Bytes are numbered from the beginning of the narrow stream; `first` is the number of the oldest kept one.
    """

    __slots__ = ("_at", "_ats", "consumed", "data", "first", "text")

    def __init__(self) -> None:
        self.data = b""
        self.text = ""
        self.first = 0
        self.consumed = 0  # code points of the stream
        self._at = (
            0  # code point of the stream that the first character of the text was, when none is missing
        )
        self._ats: list[int] | None = None  # of each character, when some are

    @property
    def end(self) -> int:
        """The number that the next byte will have."""
        return self.first + len(self.data)

    def feed(self, piece: str, offset: int) -> None:
        """Take the next code points of the stream; the first of them is number `offset`."""
        added = narrow(piece)
        if self._ats is None and (len(added) != len(piece) or self._at + len(self.text) != offset):
            self._ats = list(range(self._at, self._at + len(self.text)))
        if self._ats is not None:
            if len(added) == len(piece):
                self._ats.extend(range(offset, offset + len(piece)))
            else:
                self._ats.extend(
                    offset + place
                    for place, point in enumerate(piece)
                    if point.isascii() or NARROW[ord(point)]
                )
        self.text += added
        self.data += added.encode()
        self.consumed = offset + len(piece)

    def _place(self, byte: int) -> int:
        """The place in the text of a byte."""
        if len(self.data) == len(self.text):
            return byte - self.first
        return len(self.data[: byte - self.first].decode())

    def start(self, byte: int) -> int:
        """The code point of the stream that begins with this byte; all that was consumed for the end."""
        place = self._place(byte)
        if place == len(self.text):
            return self.consumed
        return self._ats[place] if self._ats is not None else self._at + place

    def stop(self, byte: int) -> int:
        """Behind the code point of the stream that ends before this byte."""
        place = self._place(byte) - 1
        return (self._ats[place] if self._ats is not None else self._at + place) + 1

    def candidate(self, start: int, stop: int) -> tuple[str, str]:
        """The text between two bytes, and up to BEFORE characters before it."""
        first, last = self._place(start), self._place(stop)
        return self.text[first:last], self.text[max(0, first - BEFORE) : first]

    def forget(self, before: int) -> None:
        """Bytes before this one cannot be part of a match any more."""
        spare = before - _CONTEXT_BYTES - self.first
        if spare < 1_024:
            return
        while self.data[spare] & 0xC0 == 0x80:
            spare -= 1
        characters = self._place(self.first + spare)
        self.data, self.text = self.data[spare:], self.text[characters:]
        self.first += spare
        if self._ats is None:
            self._at += characters
            return
        del self._ats[:characters]
        self._at = self._ats[0]
        if self._ats[-1] + 1 == self._at + len(self._ats) == self.consumed:
            self._ats = None


class PatternStream:
    """What the patterns know of one stream."""

    __slots__ = ("_ahead", "_looked", "_low", "_patterns", "_view")

    def __init__(self, patterns: Patterns, view: View) -> None:
        self._patterns = patterns
        self._view = view
        self._low = 0  # no match that is still to come begins before this byte
        self._looked = 0  # up to which byte it was looked
        self._ahead: dict[int, int] = {}  # patterns that are farther, and how far

    @property
    def low(self) -> int:
        """The first byte that must be kept."""
        return self._low

    def advance(self, consumed: int, final: bool, found: list[Hit]) -> int:
        """Look at the text that was added, as `safety.automaton.WordStream.advance` does."""
        view = self._view
        end = view.end
        waiting = self._looked - self._low
        if final or waiting <= _LONG or end - self._looked >= waiting >> 3:
            self._looked = end
            low = None if self._ahead else self._all_together(final)
            if low is None:
                self._one_by_one(final, found)
            else:
                self._low = low
        return consumed if self._low == end else view.start(self._low)

    def _all_together(self, final: bool) -> int | None:
        """The first byte from which a match may be open; None when there is a match, or may be."""
        view = self._view
        data, low = view.data, view.end
        start, size = self._low - view.first, len(data)
        for group in self._patterns.groups:
            if group.probe.Match(_HERE, data, start, size)[0] == _NOWHERE:
                continue
            if group.main.Match(_HERE, data, start, size)[0] != _NOWHERE:
                return None
            if not final:
                low = _open_from(view, group.begin, self._low, group.limit, low)
        return low

    def _one_by_one(self, final: bool, found: list[Hit]) -> None:
        places: dict[int, int] = {}
        for number, pattern in enumerate(self._patterns.patterns):
            start = self._ahead.get(number, self._low)
            places[number] = self._run(pattern, start, final, found)
        self._low = min(places.values())
        self._ahead = {number: place for number, place in places.items() if place > self._low}

    def _run(self, pattern: Pattern, place: int, final: bool, found: list[Hit]) -> int:
        """Find what is certain from `place` on; the byte that the pattern must go on from."""
        view = self._view
        first, end, size = view.first, view.end, len(view.data)
        while place < end:
            waits = end if final else _open_from(view, pattern.begin, place, pattern.limit, end)
            start, stop = pattern.main.Match(_ANYWHERE, view.data, place - first, size)[0]
            if start < 0 or first + start >= waits:
                return waits
            if stop - start > pattern.limit:
                _start, stop = pattern.main.Match(_HERE, view.data, start, start + pattern.limit)[0]
                if stop < 0:
                    place = first + _next(view.data, start)
                    continue
            place = self._take(pattern, first + start, first + stop, found)
        return end

    def _take(self, pattern: Pattern, start: int, stop: int, found: list[Hit]) -> int:
        """A candidate is complete. Where the search goes on."""
        view = self._view
        if pattern.spans is None:
            found.append(Hit(pattern.rule, view.start(start), view.stop(stop)))
            return stop
        candidate, before = view.candidate(start, stop)
        spans = pattern.spans(candidate, before)
        for begin, end in spans:
            first, last = (start + len(candidate[:place].encode()) for place in (begin, end))
            found.append(Hit(pattern.rule, view.start(first), view.stop(last)))
        if spans:
            return start + len(candidate[: spans[-1][1]].encode())
        leading = _LEADING.match(view.data, start - view.first, stop - view.first)
        return view.first + (leading.end() if leading else _next(view.data, start - view.first))


def _next(data: bytes, place: int) -> int:
    """Behind the character that begins at `place`."""
    place += 1
    while place < len(data) and data[place] & 0xC0 == 0x80:
        place += 1
    return place


def _open_from(view: View, begin: Any, place: int, limit: int, before: int) -> int:
    """The first byte up to `before` from which all the rest may be the beginning of a match; `before` when none."""
    if begin is None:
        return before
    data, first, size = view.data, view.first, len(view.data)
    for start in range(max(place, view.end - limit) - first, before - first):
        if data[start] & 0xC0 != 0x80 and begin.Match(_ALL_OF_IT, data, start, size)[0] != _NOWHERE:
            return first + start
    return before
