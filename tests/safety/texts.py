"""Rules, disguises and ways to cut a text, for the tests of the pipeline."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from safety.compiled import Detectors, Guard, compile_rule_set
from safety.spec import Action, Direction, Kind, Rule, RuleSet, Verdict
from safety.stream import Transducer

NO_DETECTORS = Detectors({})


def rule(name: str, kind: Kind = Kind.TERMS, action: Action | None = Action.MASK, **fields: Any) -> Rule:
    """A rule that does the same in and out."""
    outward_only, inward_only = kind is Kind.CANARY, kind is Kind.INJECTION
    return Rule(
        id=name,
        kind=kind,
        category=fields.pop("category", "secret"),
        action_in=None if outward_only else action,
        action_out=None if inward_only else action,
        **fields,
    )


def words(*terms: str, action: Action = Action.MASK, **fields: Any) -> Rule:
    """A rule of words."""
    return rule("words", action=action, terms=terms, **fields)


def pattern(text: str, action: Action = Action.MASK, **fields: Any) -> Rule:
    """A rule with a regular expression."""
    return rule("pattern", Kind.PATTERN, action, pattern=text, **fields)


def guard(*rules: Rule, detectors: Detectors = NO_DETECTORS) -> Guard:
    """A guard with one set."""
    return Guard([compile_rule_set(RuleSet("set", 1, rules), detectors=detectors)])


class Outcome(NamedTuple):
    """What came of a text."""

    text: str
    verdicts: tuple[Verdict, ...]
    refused: Verdict | None


def whole(of: Guard, text: str, direction: Direction = Direction.OUT) -> Outcome:
    """In one piece."""
    return Outcome(*of.check(text, direction))


def streamed(of: Guard, pieces: Iterable[str], direction: Direction = Direction.OUT) -> Outcome:
    """In these pieces."""
    return fed(of.stream(direction), pieces)


def fed(transducer: Transducer, pieces: Iterable[str]) -> Outcome:
    """All that leaves a stream."""
    text, verdicts = "", []
    for piece in pieces:
        checked = transducer.feed(piece)
        text += checked.text
        verdicts.extend(checked.verdicts)
    checked = transducer.finish()
    return Outcome(text + checked.text, (*verdicts, *checked.verdicts), checked.refused)


def spans(outcome: Outcome) -> list[tuple[int, int]]:
    """Where something was found."""
    return [(verdict.start, verdict.end) for verdict in outcome.verdicts]


def held_after(of: Guard, text: str, direction: Direction = Direction.OUT) -> int:
    """How much waits when a text has come so far."""
    transducer = of.stream(direction)
    transducer.feed(text)
    return transducer.held


def decoded(data: bytes, cuts: Sequence[int]) -> Iterator[str]:
    """The pieces of a text whose bytes are cut there, as an incremental decoder gives them."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start, stop in zip((0, *cuts), (*cuts, len(data)), strict=True):
        yield decoder.decode(data[start:stop])


_LATIN = "abcdefghijklmnopqrstuvwxyz"
_SIMILAR = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
_FULL = {code: chr(code + 0xFEE0) for code in range(0x21, 0x7F)}
_TRADITIONAL = str.maketrans("弹药轮国湾独", "彈藥輪國灣獨")

DISGUISES = {
    "zero width": lambda term: "\u200b".join(term),
    "full width": lambda term: term.translate(_FULL),
    "look-alikes": lambda term: term.translate(_SIMILAR),
    "separators": lambda term: "-".join(term),
    "case": lambda term: term.swapcase(),
    "traditional": lambda term: term.translate(_TRADITIONAL),
}
