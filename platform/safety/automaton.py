"""Words found in folded text, in any disguise, while it streams.

All words of a group are in one Aho-Corasick automaton over their bare letters, so that text with any gaps between
letters runs through it once. Whether the gaps of a hit are those of a disguise is judged afterwards:

- a word's own gap may be any joints or blanks in the text, not nothing (`the rapist` is not `therapist`);
- beside a Han or kana letter joints and blanks never count (`炸 弹`, `炸.弹`), hard punctuation does (`炸，弹`);
- elsewhere a gap counts as a disguise when it separates single letters (`b o m b`, `f.o.r.b.i.d phrase`, `法，轮，功`),
  in a hit of at least three letters; one blank inside ordinary words is none (`as s`);
- or when there are only joints and the hit is a whole token (`bo-mb`, not `bo-mb-er`).

Written out wholly in look-alikes of another script, a hit of fewer than five letters must be a whole word, and the
words before it not be of that script (`рот` in Russian text is not `pot`), unless the listed word is written so.

A stream holds back from the leftmost letter from which the letters so far, with their gaps, are the beginning of a
word that is not complete yet. Digits that stand for letters (`b0mb`) are not looked through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import ahocorasick

from safety.normalise import (
    BLANK,
    BREAK,
    FOREIGN,
    GAP,
    HARD,
    IS_DENSE,
    JOINT,
    LOOKALIKE,
    NONE,
    Character,
    Letters,
    as_literal,
    character,
    folded,
)

MAX_LETTERS: Final = 255  # of a word, folded
MAX_SPAN: Final = 2_048  # code points from the first to the last letter of a hit
FEWEST_APART: Final = 3  # letters of a hit that single letters with gaps between them make
SURE_LOOKALIKES: Final = 5
SCRIPT_CONTEXT: Final = 32  # letters before a hit that tell which script the text is in

_MORE: Final = 256  # flag in a value: longer words begin with this one
_MOST_LOOKED_AT: Final = 50  # words; where more begin alike, some are taken to have no gap
# All flags of a letter that no gap is before.
_GAPLESS: Final = bytes(flag for flag in range(64) if not flag & GAP)
_SOFT_OWN: Final = 1
_HARD_OWN: Final = 2


class Hit(NamedTuple):
    """A word found: which rule's, and its first and behind its last code point in the stream."""

    rule: int
    start: int
    end: int


class Entry(NamedTuple):
    """What a word of a list says beside its letters."""

    rule: int
    gaps: bytes | None  # before each letter: 0, _SOFT_OWN, _HARD_OWN; None when there are none
    native: bool  # it is itself written in a script with look-alikes, all of it


class UnusableWord(Exception):
    """A word without letters, or with too many."""


class Words:
    """An automaton of words, immutable and shared by all streams.

    100,000 words of 2 to 8 letters take about 35 MB and build in 2 s. Building is not for an event loop.
    """

    def __init__(
        self,
        words: Iterable[tuple[str, int]],
        *,
        whole_words: bool = False,
        literal: bool = False,
        any_gaps: bool = False,
    ) -> None:
        """`words` are (word, rule). Raises UnusableWord with the word.

        `literal` when signs count as letters; `any_gaps` when gaps and look-alikes never matter, for secrets.
        """
        self.whole_words = whole_words
        self.any_gaps = any_gaps
        self.literal = literal
        self.read: Callable[[str], Character] = as_literal if literal else character
        self._kinds: list[tuple[Entry, ...]] = []
        self._known: dict[tuple[Entry, ...], int] = {}
        self.automaton: Any = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        self.gapped: Any = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        self.longest = 0
        self._build(words)

    def _build(self, words: Iterable[tuple[str, int]]) -> None:
        collected: dict[str, tuple[int, int]] = {}
        kinds = self._kinds
        for word, rule in words:
            key, size, entry, with_gaps = self._form(word, rule)
            if with_gaps is not None:
                self.gapped.add_word(with_gaps, 1)
            before = collected.get(key)
            both = (entry,) if before is None else tuple(dict.fromkeys((*kinds[before[0]], entry)))
            collected[key] = (self._kind(both), size)
        keys = sorted(collected)
        for place, key in enumerate(keys):
            kind, size = collected[key]
            more = _MORE if place + 1 < len(keys) and keys[place + 1].startswith(key) else 0
            self.automaton.add_word(key, kind << 9 | more | size)
        if keys:
            self.automaton.make_automaton()

    def _kind(self, entries: tuple[Entry, ...]) -> int:
        kind = self._known.get(entries)
        if kind is None:
            kind = self._known[entries] = len(self._kinds)
            self._kinds.append(entries)
        return kind

    def _form(self, word: str, rule: int) -> tuple[str, int, Entry, str | None]:
        """The automaton's key of a word, its letters, what else it says, and its form with gaps if it has any."""
        letters = folded(word, self.read)
        text, flags = letters.text, letters.flags
        size = len(text)
        if not 0 < size <= MAX_LETTERS:
            raise UnusableWord(word)
        self.longest = max(self.longest, size)
        native = all(flag & (LOOKALIKE | FOREIGN) for flag in flags)
        plain = bytes(flags[1:])
        if not plain.strip(b"\x00") or (not plain.strip(b"\x08") and flags[0] & IS_DENSE):
            return encoded(text), size, Entry(rule, None, native), None
        gaps = bytearray(size)
        for place in range(1, size):
            gap = flags[place] & GAP
            both_dense = flags[place] & flags[place - 1] & IS_DENSE
            if gap in (HARD, BREAK):
                gaps[place] = _HARD_OWN
            elif gap and not both_dense:
                gaps[place] = _SOFT_OWN
        form = "".join(
            _sign(gaps[place] == _HARD_OWN, gaps[place] > 0, flags[place - 1], flags[place]) + letter
            if place
            else letter
            for place, letter in enumerate(text)
        )
        own = bytes(gaps) if any(gaps) else None
        return encoded(text), size, Entry(rule, own, native), encoded(form) if len(form) > size else None

    def entries(self, value: int) -> tuple[Entry, ...]:
        """All words with the letters of an automaton's value."""
        return self._kinds[value >> 9]

    def may_hit(self, letters: str) -> bool:
        """Whether the folded letters of a text hold those of any word, whatever the gaps."""
        return next(self.automaton.iter(letters if letters.isascii() else encoded(letters)), None) is not None

    def may_begin_bare(self, key: str) -> bool:
        """Whether some of the words that begin with these letters has no gap of its own within them."""
        if (
            self.literal
            or self.any_gaps
            or not key.isascii()
            or not len(self.gapped)
            or self.gapped.match(key)
        ):
            return (
                True  # beside dense letters, which signs are in a literal word, a word's own gap may be none
            )
        for looked, value in enumerate(self.automaton.values(key), start=1):
            if looked > _MOST_LOOKED_AT or any(entry.gaps is None for entry in self.entries(value)):
                return True
        return False

    def stream(self, letters: Letters) -> WordStream:
        """The state of one stream, over `letters` that other automata may share."""
        return WordStream(self, letters)


def encoded(text: str) -> str:
    """Letters as the automaton reads them: bytes of UTF-8, one character each. Its nodes then have few children."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("latin-1")


def _sign(hard: bool, gap: bool, before: int, after: int) -> str:
    """How a gap is written in the trie of words with gaps. Where scripts meet there is one in any case."""
    if hard:
        return ","
    if (before ^ after) & IS_DENSE or (gap and not before & IS_DENSE):
        return " "
    return ""


class WordStream:
    """What one automaton knows of one stream."""

    __slots__ = ("_low", "_seen", "_seen_gap", "_waiting", "_words", "letters")

    def __init__(self, words: Words, letters: Letters) -> None:
        self._words = words
        self.letters = letters
        self._low = 0  # no hit that is still to come begins before this letter
        self._seen = 0
        self._waiting: list[tuple[int, int, Entry]] = []  # first letter, last letter, word

    @property
    def low(self) -> int:
        """The first letter that must be kept."""
        return self._low

    def advance(self, consumed: int, final: bool, found: list[Hit]) -> int:
        """Look at the letters that were added.

        Appends what is certain to `found`. `consumed` is the number of code points of the stream so far. The code
        point from which text must wait; `consumed` when none must.
        """
        letters = self.letters
        base, low = letters.first, self._low
        end = base + len(letters.text)
        text = letters.text[low - base :]
        scanned = text if text.isascii() else encoded(text)
        if end > self._seen:
            for place, value in self._words.automaton.iter(scanned):
                self._hit(text, scanned, place, value)
            self._seen = end
        if self._waiting:
            self._waiting = [hit for hit in self._waiting if not self._decide(*hit, final, found)]
        low = end if final else self._first_alive(low, text, scanned)
        for first, _last, _entry in self._waiting:
            low = min(low, first)
        self._low = low
        return consumed if low == end else letters.ats[low - base]

    def _hit(self, text: str, scanned: str, place: int, value: int) -> None:
        """The letters of a word end at `place` of what was scanned."""
        if len(scanned) > len(text):
            place = len(scanned[: place + 1].encode("latin-1").decode("utf-8", "surrogatepass")) - 1
        last = self._low + place
        if last >= self._seen:
            first = last + 1 - (value & 255)
            self._waiting.extend((first, last, entry) for entry in self._words.entries(value))

    def _decide(self, first: int, last: int, entry: Entry, final: bool, found: list[Hit]) -> bool:
        """Whether the hit is done with. It waits when what comes next may still make a difference."""
        answer = self._judge(first, last, entry, final)
        if answer:
            base, ats = self.letters.first, self.letters.ats
            found.append(Hit(entry.rule, ats[first - base], ats[last - base] + 1))
        return answer is not None

    def _judge(self, first: int, last: int, entry: Entry, final: bool) -> bool | None:
        """Whether the letters from `first` to `last` are the word, gaps considered; None when it is too early."""
        letters = self.letters
        a, b = first - letters.first, last - letters.first
        if letters.ats[b] - letters.ats[a] >= MAX_SPAN:
            return False
        answers: list[bool | None] = []
        flags = letters.flags
        if self._words.any_gaps:
            return all(flag & GAP != BREAK for flag in flags[a + 1 : b + 1])
        if entry.gaps is not None or flags[a + 1 : b + 1].strip(_GAPLESS):
            answers.append(self._judge_gaps(a, b, entry.gaps, final))
        if self._words.whole_words:
            answers.append(self._is_whole(a, b, final))
        if not flags[a] & (LOOKALIKE | FOREIGN) and not entry.native:
            similar = 0  # what is not written wholly in another script needs no count
        else:
            similar = sum(1 for flag in flags[a : b + 1] if flag & (LOOKALIKE | FOREIGN))
        if entry.native:
            answers.append(similar > 0)
        elif b - a + 1 == similar < SURE_LOOKALIKES:
            answers.append(not self._in_foreign_text(a) and self._is_whole(a, b, final))
        if False in answers:
            return False
        return None if None in answers else True

    def _judge_gaps(self, a: int, b: int, own: bytes | None, final: bool) -> bool | None:
        flags = self.letters.flags
        apart = joined = False
        for place in range(a + 1, b + 1):
            gap = flags[place] & GAP
            wanted = own[place - a] if own else 0
            dense = (flags[place] | flags[place - 1]) & IS_DENSE
            if gap == NONE:
                if wanted == _HARD_OWN or (wanted and not dense):
                    return False
            elif gap == BREAK:
                return False
            elif (gap == HARD and wanted == _HARD_OWN) or (
                gap != HARD and (wanted == _SOFT_OWN or (dense and not wanted))
            ):
                continue
            elif self._is_single(place - 1, final) and self._is_single(place, final) is not False:
                if self._is_single(place, final) is None:
                    return None
                apart = True
            elif gap == JOINT and not wanted:
                joined = True
            else:
                return False
        if apart and b - a + 1 < FEWEST_APART:
            return False
        return self._is_token(a, b, final) if joined else True

    def _is_single(self, place: int, final: bool) -> bool | None:
        """Whether a letter has gaps on both sides; None when what follows is not known."""
        flags = self.letters.flags
        if not flags[place] & GAP:
            return False
        if place + 1 < len(flags):
            return bool(flags[place + 1] & GAP)
        return True if final or self.letters.gap else None

    def _begins_token(self, a: int) -> bool:
        flags = self.letters.flags
        dense = flags[a] & IS_DENSE or (a > 0 and flags[a - 1] & IS_DENSE)
        return bool(dense) or flags[a] & GAP in (BLANK, HARD, BREAK)

    def _is_token(self, a: int, b: int, final: bool) -> bool | None:
        """Whether no letter and no joint with a letter behind it is next to the hit."""
        flags = self.letters.flags
        if not self._begins_token(a):
            return False
        if flags[b] & IS_DENSE or final:
            return True
        if b + 1 < len(flags):
            return bool(flags[b + 1] & IS_DENSE) or flags[b + 1] & GAP in (BLANK, HARD, BREAK)
        return True if self.letters.gap in (BLANK, HARD, BREAK) else None

    def _begins_word(self, a: int) -> bool:
        flags = self.letters.flags
        return bool(flags[a] & (GAP | IS_DENSE)) or (a > 0 and bool(flags[a - 1] & IS_DENSE))

    def _is_whole(self, a: int, b: int, final: bool) -> bool | None:
        flags = self.letters.flags
        if not self._begins_word(a):
            return False
        if flags[b] & IS_DENSE or final:
            return True
        if b + 1 < len(flags):
            return bool(flags[b + 1] & (GAP | IS_DENSE))
        return True if self.letters.gap else None

    def _in_foreign_text(self, a: int) -> bool:
        """Whether the last letter before, of those that tell, is of a script with look-alikes."""
        letters = self.letters
        for place in range(a - 1, max(-1, a - 1 - SCRIPT_CONTEXT), -1):
            if letters.flags[place] & FOREIGN:
                return True
            if not letters.flags[place] & LOOKALIKE and letters.text[place].isalpha():
                return False
        return False

    def _first_alive(self, number: int, text: str, scanned: str) -> int:
        """The first letter from `number` on from which something may still become a hit; the end when none."""
        letters = self.letters
        if letters.gap == BREAK:
            return number + len(text)
        begins, place = self._words.automaton.match, 0
        narrow = len(scanned) == len(text)
        for letter in text:
            if begins(scanned[place:]) and self._is_alive(number - letters.first, scanned[place:]):
                return number
            number += 1
            place += 1 if narrow else len(letter.encode("utf-8", "surrogatepass"))
        return number

    def _is_alive(self, a: int, key: str) -> bool:
        """Whether the letters from `a` on, which some word begins with, may become a hit."""
        words, letters = self._words, self.letters
        value = words.automaton.get(key, None)
        if value is not None and not value & _MORE:
            return False
        if letters.ats[-1] - letters.ats[a] >= MAX_SPAN or (words.whole_words and not self._begins_word(a)):
            return False
        bare = letters.gap == NONE and not letters.flags[a + 1 :].strip(_GAPLESS)
        return words.may_begin_bare(key) if bare else self._gaps_may_fit(a)

    def _gaps_may_fit(self, a: int) -> bool:
        """Whether some word may have its gaps where the letters from `a` on have theirs, or a disguise."""
        letters = self.letters
        flags, size = letters.flags, len(letters.flags)
        if self._words.any_gaps:
            return all(flag & GAP != BREAK for flag in flags[a + 1 :])
        own = disguised = False  # a gap that must be the word's own; one that may be a disguise
        for place in range(a + 1, size + 1):
            gap = flags[place] & GAP if place < size else letters.gap
            if gap == NONE:
                continue
            if gap == BREAK:
                return False
            single = self._is_single(place - 1, False) is not False
            if single and (place == size or self._is_single(place, False) is not False):
                disguised = True
            elif gap != HARD and (flags[place - 1] | (flags[place] if place < size else 0)) & IS_DENSE:
                continue
            elif gap == JOINT and self._begins_token(a):
                disguised = True
            elif not disguised and not self._own_gap_may_be(a, place):
                return False
            else:
                own = True
        return not (own and disguised) or len(self._words.gapped) > 0

    def _own_gap_may_be(self, a: int, place: int) -> bool:
        """Whether some word begins with the letters from `a` to before `place` and has a gap of its own there."""
        before, gap = self._with_gaps(a, place)
        # Blanks at the end may still become hard punctuation.
        may_grow = gap == " " and place == len(self.letters.flags)
        return any(
            self._words.gapped.match(encoded(before + end)) for end in ((" ", ",") if may_grow else (gap,))
        )

    def _with_gaps(self, a: int, stop: int) -> tuple[str, str]:
        """The letters from `a` to before `stop` with the gaps between them, and the gap after them."""
        letters = self.letters
        text, flags = letters.text, letters.flags
        parts = [text[a]]
        for place in range(a + 1, stop):
            gap = flags[place] & GAP
            parts.append(_sign(gap == HARD, gap > 0, flags[place - 1], flags[place]))
            parts.append(text[place])
        gap, after = (flags[stop] & GAP, flags[stop]) if stop < len(flags) else (letters.gap, flags[-1])
        return "".join(parts), _sign(gap == HARD, gap > 0, flags[stop - 1], after)
