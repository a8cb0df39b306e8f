"""What a rule set is, as data: the form between the tables that hold rules and the engine that runs them.

Everything here is immutable and can be sent as JSON or MessagePack. Offsets count code points of the
original text.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Direction(StrEnum):
    """Which way a text goes."""

    IN = "in"  # from the tenant's side to a model: prompts, tool results, knowledge
    OUT = "out"  # from a model to the tenant's side: answers, tool arguments, reasoning


class Action(StrEnum):
    """What happens on a match, from the mildest to the strictest."""

    FLAG = "flag"  # recorded, nothing else
    MASK = "mask"  # the match is written as its kind in brackets, e.g. [EMAIL]
    REPLACE = "replace"  # the match is written as the rule's replacement
    REVIEW = "review"  # refused until a person has approved it
    BLOCK = "block"  # refused

    @property
    def strictness(self) -> int:
        """0 for the mildest. Where two rules match the same text, the stricter one counts."""
        return list(Action).index(self)

    @property
    def refuses(self) -> bool:
        """Whether a match ends the request."""
        return self in (Action.REVIEW, Action.BLOCK)


class Kind(StrEnum):
    """How a rule finds its matches."""

    TERMS = "terms"  # words, found in normalised text, in any disguise
    PATTERN = "pattern"  # a regular expression in RE2's syntax
    PII = "pii"  # one of the recognisers of `safety.pii`, named by `entity`
    INJECTION = "injection"  # the score of `safety.injection` reaches `threshold`; direction in only
    CANARY = "canary"  # a token planted in a system prompt; direction out only


class Severity(StrEnum):
    """How bad a match is: for people who sort and filter, nothing hangs on it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule. A direction without an action is not looked at."""

    id: str  # public id (`rul_…`), or the name of a built-in one (`pii.email`)
    kind: Kind
    category: str  # e.g. "politics", "personal-data", "injection": free, counted and shown
    severity: Severity = Severity.MEDIUM
    action_in: Action | None = None
    action_out: Action | None = None
    terms: tuple[str, ...] = ()
    whole_words: bool = False  # Latin terms match whole words only
    pattern: str = ""
    entity: str = ""
    threshold: int = 0  # 1 to 100, of the injection score
    replacement: str = ""

    def action(self, direction: Direction) -> Action | None:
        """What this rule does with texts that go this way."""
        return self.action_in if direction is Direction.IN else self.action_out


class RuleSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """One published version of the platform's rules or of one tenant's. (id, version) never changes meaning."""

    id: str
    version: int
    rules: tuple[Rule, ...] = ()


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """One match: which rule of which version said what, and where. Never holds the text itself."""

    rule: str
    version: int
    kind: Kind
    category: str
    severity: Severity
    action: Action
    direction: Direction
    start: int  # code points of the original text, of the part that was looked at
    end: int
    score: int = 0  # of injection rules
    part: str = ""  # which part of the request, e.g. "messages[2].content"; filled in by the caller
