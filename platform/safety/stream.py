"""A text on its way through the rules, piece by piece, wherever it is cut.

Checkers look at what was added and say what they found for certain, and from which place on text must wait because
it may still become a match. What is found is settled in the order of the text, and only up to the place where nothing
can come before it any more: so the text that leaves and the verdicts are the same for every way to cut, and
the same as for the whole text in one piece.

Matches that overlap are settled together: the strictest action counts, one mask is written for all of them. From a
refusal on nothing leaves; what was surely clean before has left or leaves with it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from safety.automaton import Hit
from safety.faults import CheckerFailed
from safety.normalise import Letters
from safety.patterns import View
from safety.spec import Action, Direction, Kind, Rule, Verdict

BLOCK: Final = 1_024  # code points that are looked at together
MAX_GROUP: Final = 4_096  # code points between the beginnings of matches that are masked as one
MAX_VERDICTS: Final = 1_000  # of one text; later ones count, but are not told


class Checked(NamedTuple):
    """What came of a text, or of a piece of a stream."""

    text: str  # what may leave now
    verdicts: tuple[Verdict, ...]
    refused: Verdict | None


class Effect(NamedTuple):
    """What a rule does with texts that go one way."""

    rule: Rule
    version: int
    action: Action
    written: str  # instead of a match
    rank: tuple[int, int]  # among rules that match the same text: set, then place in it
    order: int = 0  # of a recogniser among all of them


class Search(Protocol):
    """The state of one kind of search in one stream."""

    @property
    def low(self) -> int:
        """What must be kept of the letters or bytes that it reads."""

    def advance(self, consumed: int, final: bool, found: list[Hit]) -> int:
        """Look at what was added; the code point from which text must wait."""


class Checker(NamedTuple):
    """One search, what it reads, and what its rules do. A rule without an effect is not looked at."""

    search: Search
    source: Letters | View
    effects: Sequence[Effect | None]


class _Span(NamedTuple):
    """A match, in the order in which matches are settled: by place, longer ones first, then by rank."""

    start: int
    minus_end: int
    rank: tuple[int, int]
    score: int
    effect: Effect


def _by_rank(span: _Span) -> tuple[int, int, tuple[int, int], int]:
    return -span.effect.action.strictness, span.effect.order, span.rank, span.start


class Transducer:
    """One stream. Not shared: one feeds it. Remembers at most about 40,000 code points, ordinarily a few."""

    def __init__(
        self, direction: Direction, checkers: Sequence[Checker], sources: Sequence[Letters | View]
    ) -> None:
        self._direction = direction
        self._checkers = checkers
        self._sources = sources
        self._consumed = 0
        self._left = 0  # code points that have left, or will never
        self._kept = ""  # the others
        self._spans: list[_Span] = []
        self._personal: list[_Span] = []  # personal data, of which the better of two that overlap counts
        self._covered: dict[tuple[int, int], int] = {}  # end of the last match of a rule
        self._open: tuple[int, int, Effect] | None = (
            None  # matches that are masked as one: start, end, effect
        )
        self._told = 0
        self._refused: Verdict | None = None
        self._broken = False

    @property
    def held(self) -> int:
        """Code points that wait because they may still become a match."""
        return 0 if self._refused is not None else self._consumed - self._left

    def feed(self, piece: str) -> Checked:
        """Take the next piece; what may leave now. Raises CheckerFailed: nothing may leave then.

        A token of ordinary text costs about 10 µs with 100,000 words.
        """
        return self._guarded(piece, final=False)

    def finish(self) -> Checked:
        """There is no more; what may leave at last. Raises CheckerFailed."""
        return self._guarded("", final=True)

    def add(self, start: int, end: int, score: int, effect: Effect) -> None:
        """A match that was found, here or by something that looked at a text that is about to be fed."""
        spans = self._personal if effect.rule.kind is Kind.PII else self._spans
        heapq.heappush(spans, _Span(start, -end, effect.rank, score, effect))

    def _guarded(self, piece: str, *, final: bool) -> Checked:
        if self._broken:
            raise CheckerFailed("a checker failed before")
        try:
            return self._run(piece, final=final)
        except Exception as error:
            self._broken = True
            self._kept = ""
            raise CheckerFailed(f"a checker failed: {type(error).__name__}") from error

    def _run(self, piece: str, *, final: bool) -> Checked:
        if not final and len(piece) <= BLOCK and self._refused is None:
            self._take(piece)
            wait = self._look(final=False)
            if not self._spans and not self._personal and self._open is None:
                return self._nothing_found(wait)
            return self._checked(wait)
        text: list[str] = []
        verdicts: list[Verdict] = []
        for place in range(0, len(piece), BLOCK):
            if self._refused is not None:
                break
            self._take(piece if len(piece) <= BLOCK else piece[place : place + BLOCK])
            self._settle(self._look(final=False), text, verdicts)
        if final and self._refused is None:
            self._look(final=True)
            self._settle(self._consumed + 1, text, verdicts)
        return Checked("".join(text), tuple(verdicts), self._refused)

    def _nothing_found(self, wait: int) -> Checked:
        """What ordinary text comes to."""
        count = wait - self._left
        if count == len(self._kept):
            leaves, self._kept = self._kept, ""
        else:
            leaves, self._kept = self._kept[:count], self._kept[count:]
        self._left = wait
        return Checked(leaves, (), None)

    def _checked(self, wait: int) -> Checked:
        text: list[str] = []
        verdicts: list[Verdict] = []
        self._settle(wait, text, verdicts)
        return Checked("".join(text), tuple(verdicts), self._refused)

    def _take(self, piece: str) -> None:
        for source in self._sources:
            source.feed(piece, self._consumed)
        self._kept += piece
        self._consumed += len(piece)

    def _look(self, *, final: bool) -> int:
        """Ask all checkers; the first code point that must wait."""
        wait = consumed = self._consumed
        for checker in self._checkers:
            found: list[Hit] = []
            wait = min(wait, checker.search.advance(consumed, final, found))
            for rule, start, end in found:
                effect = checker.effects[rule]
                if effect is not None:
                    self.add(start, end, 0, effect)
        for source in self._sources:
            if len(source.text) > BLOCK:
                source.forget(
                    min(checker.search.low for checker in self._checkers if checker.source is source)
                )
        return wait

    def _settle(self, wait: int, text: list[str], verdicts: list[Verdict]) -> None:
        """Decide about everything before `wait`."""
        if self._personal:
            wait = self._sort_out(wait)
        spans = self._spans
        while spans and spans[0].start < wait:
            span = heapq.heappop(spans)
            if self._is_covered(span):
                continue
            verdict = self._verdict(span)
            action = span.effect.action
            if self._told < MAX_VERDICTS or action.refuses:
                self._told += 1
                verdicts.append(verdict)
            if action.refuses:
                self._refuse(span.start, verdict, text)
                return
            if action is not Action.FLAG:
                self._edit(span, text)
        if self._open is not None and self._open[1] <= wait:
            self._close(text)
        self._release(wait if self._open is None else self._open[0], text)

    def _sort_out(self, wait: int) -> int:
        """Of personal data that overlaps, hand on what comes first by rank. The place from which it is too early.

        A card is not a telephone number, whichever is longer: recognisers are ranked, and each piece of text is one
        thing. What is stricter is never given up for what is milder.
        """
        personal = self._personal
        while personal and personal[0].start < wait:
            first = personal[0].start
            together: list[_Span] = []
            end = first + 1
            while personal and personal[0].start < min(end, wait, first + MAX_GROUP):
                span = heapq.heappop(personal)
                together.append(span)
                end = max(end, -span.minus_end)
            if wait < min(end, first + MAX_GROUP):
                for span in together:
                    heapq.heappush(personal, span)
                return first
            kept: list[_Span] = []
            for span in sorted(together, key=_by_rank):
                if not any(span.start < -other.minus_end and other.start < -span.minus_end for other in kept):
                    kept.append(span)
            for span in kept:
                heapq.heappush(self._spans, span)
        return wait

    def _is_covered(self, span: _Span) -> bool:
        """Whether it lies inside another match of the same rule."""
        if -span.minus_end <= self._covered.get(span.rank, -1):
            return True
        self._covered[span.rank] = -span.minus_end
        return False

    def _verdict(self, span: _Span) -> Verdict:
        rule = span.effect.rule
        return Verdict(
            rule=rule.id,
            version=span.effect.version,
            kind=rule.kind,
            category=rule.category,
            severity=rule.severity,
            action=span.effect.action,
            direction=self._direction,
            start=span.start,
            end=-span.minus_end,
            score=span.score,
        )

    def _refuse(self, start: int, verdict: Verdict, text: list[str]) -> None:
        if self._open is not None:
            if start < self._open[1]:
                start = self._open[0]
            else:
                self._close(text)
        self._release(start, text)
        self._refused = verdict
        self._kept = ""
        self._spans.clear()
        self._personal.clear()

    def _edit(self, span: _Span, text: list[str]) -> None:
        """The match is not to leave as it is."""
        start, end, effect = span.start, -span.minus_end, span.effect
        if self._open is not None:
            first, last, before = self._open
            if start < last and start - first < MAX_GROUP:
                stricter = effect.action.strictness > before.action.strictness
                self._open = (first, max(last, end), effect if stricter else before)
                return
            self._close(text)
        start = max(start, self._left)
        if start < end:
            self._open = (start, end, effect)

    def _close(self, text: list[str]) -> None:
        """No other match overlaps what is open: write what stands for it."""
        if self._open is None:
            return
        start, end, effect = self._open
        self._open = None
        self._release(start, text)
        text.append(effect.written)
        self._kept = self._kept[end - self._left :]
        self._left = end

    def _release(self, until: int, text: list[str]) -> None:
        """The text before `until` leaves."""
        until = min(until, self._consumed)
        if until > self._left:
            text.append(self._kept[: until - self._left])
            self._kept = self._kept[until - self._left :]
            self._left = until
