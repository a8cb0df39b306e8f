"""Rule sets made ready to run, and the guard that a tenant's texts pass.

`compile_rule_set` is slow (seconds for 100,000 words) and its result is shared by all threads and requests. `Guard`
puts several sets together for one tenant, and costs next to nothing.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, Protocol

from django.utils.translation import gettext as _

from safety.automaton import MAX_LETTERS, UnusableWord, Words
from safety.faults import CheckerFailed, InvalidRule
from safety.normalise import DENSE, HIDDEN, Letters, as_literal, character, folded, letters_of, narrow
from safety.patterns import Pattern, Patterns, View, detector_pattern, tenant_pattern
from safety.spec import Action, Direction, Kind, Rule, RuleSet, Severity
from safety.stream import Checked, Checker, Effect, Transducer
from safety.syntax import BadPattern

__all__ = [
    "Checked",
    "CheckerFailed",
    "Compiled",
    "Detectors",
    "Guard",
    "InvalidRule",
    "Transducer",
    "compile_rule_set",
]

_MOST_ORDINARY: Final = 4_096  # texts that a guard remembers as such, of about 100 bytes each
CANARY_PIECE: Final = 12  # letters of a canary in a row that give it away
_CANARY_RULE: Final = Rule(
    id="canary", kind=Kind.CANARY, category="canary", severity=Severity.CRITICAL, action_out=Action.BLOCK
)


class Recogniser(Protocol):
    """What must be known of a recogniser of personal data; `safety.pii` has them.

    One with a method `spans(candidate, before)` is asked by that which parts of a candidate count.
    """

    @property
    def pattern(self) -> str:
        """In RE2's syntax."""

    @property
    def valid(self) -> Callable[[str], bool] | None:
        """Whether a candidate is one; all are when it is None."""

    @property
    def context(self) -> tuple[str, ...]:
        """Words of which one must stand before it, when there are any and no `spans`."""

    @property
    def label(self) -> str:
        """What a mask says."""


class Finding(Protocol):
    """What a detector of injections says about a text."""

    @property
    def score(self) -> int:
        """0 to 100."""

    @property
    def start(self) -> int:
        """The first code point of what was found."""

    @property
    def end(self) -> int:
        """Behind the last one."""


class Score(Protocol):
    """A detector of injections."""

    def __call__(self, text: str, *, untrusted: bool = False) -> Finding:
        """Look at a whole text."""


class Detectors(NamedTuple):
    """What is found by code of ours and not by a rule's own words."""

    recognisers: Mapping[str, Recogniser]
    score: Score | None = None


@cache
def built_in_detectors() -> Detectors:
    """Those of `safety.pii` and `safety.injection`; none of a package that is not there."""
    pii, injection = (_package(f"safety.{name}") for name in ("pii", "injection"))
    return Detectors(getattr(pii, "RECOGNISERS", {}), getattr(injection, "score", None))


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


class Bank(NamedTuple):
    """Rules that are looked for together."""

    search: Words | Patterns
    rules: frozenset[int]  # places in the set
    literal: bool = False


class Compiled:
    """A rule set, ready to run. Immutable: shared by all threads and requests."""

    def __init__(
        self, rule_set: RuleSet, banks: Sequence[Bank], labels: Sequence[str], detectors: Detectors
    ) -> None:
        self.rule_set = rule_set
        self.banks = tuple(banks)
        self.labels = tuple(labels)
        self.score = detectors.score
        order = {entity: place for place, entity in enumerate(detectors.recognisers)}
        self.orders = tuple(order.get(rule.entity, 0) for rule in rule_set.rules)
        self.ids = frozenset(rule.id for rule in rule_set.rules)
        self.plain = {
            direction: tuple(rule.action(direction) for rule in rule_set.rules) for direction in Direction
        }


def compile_rule_set(rule_set: RuleSet, *, detectors: Detectors | None = None) -> Compiled:
    """Make a set ready to run. Raises InvalidRule naming the rule that cannot be, with a sentence for its author.

    Without `detectors` those of the platform. 100,000 words take about 2 s and 40 MB.
    """
    used = built_in_detectors() if detectors is None else detectors
    words: dict[tuple[bool, ...], list[tuple[str, int]]] = {}
    patterns: dict[tuple[bool, ...], list[Pattern]] = {}
    labels: list[str] = []
    for number, rule in enumerate(rule_set.rules):
        labels.append(_label(rule, used))
        _refuse_unusable(rule, used)
        directions = (rule.action_in is not None, rule.action_out is not None)
        if rule.kind is Kind.TERMS:
            for word in rule.terms:
                key = (*directions, rule.whole_words, _is_literal(word))
                words.setdefault(key, []).append((word, number))
        elif rule.kind in (Kind.PATTERN, Kind.PII):
            patterns.setdefault(directions, []).append(_pattern(rule, number, used))
    banks = [
        _word_bank(rule_set, listed, whole_words=key[2], literal=key[3]) for key, listed in words.items()
    ]
    banks.extend(
        Bank(Patterns(group), frozenset(pattern.rule for pattern in group)) for group in patterns.values()
    )
    return Compiled(rule_set, banks, labels, used)


def _refuse_unusable(rule: Rule, detectors: Detectors) -> None:
    if rule.kind is Kind.TERMS and not rule.terms:
        raise InvalidRule(rule.id, _("The rule has no words."))
    if rule.kind is Kind.INJECTION:
        if not 1 <= rule.threshold <= 100:
            raise InvalidRule(rule.id, _("The threshold must be between 1 and 100."))
        if detectors.score is None:
            raise InvalidRule(rule.id, _("There is no detector of injections."))
        if rule.action_out is not None:
            raise InvalidRule(rule.id, _("Injections are looked for in what goes to a model only."))
    if rule.kind is Kind.CANARY and rule.action_in is not None:
        raise InvalidRule(rule.id, _("Canaries are looked for in what comes from a model only."))


def _label(rule: Rule, detectors: Detectors) -> str:
    """What a mask says: the recogniser's word, else the category."""
    if rule.kind is Kind.PII and rule.entity in detectors.recognisers:
        return f"[{detectors.recognisers[rule.entity].label}]"
    word = "".join(letter if letter.isalnum() else "_" for letter in rule.category.upper()).strip("_")
    return f"[{word or rule.kind.value.upper()}]"


def _is_literal(word: str) -> bool:
    """Whether signs of the word must count: it has no letters, or begins or ends with a sign (`C++`, `.net`, `🔞`)."""
    kinds = [character(point).kind for point in word.strip() if character(point).kind != HIDDEN]
    return bool(kinds) and (kinds[0] > DENSE or kinds[-1] > DENSE)


def _word_bank(
    rule_set: RuleSet, listed: Sequence[tuple[str, int]], *, whole_words: bool, literal: bool
) -> Bank:
    try:
        words = Words(listed, whole_words=whole_words, literal=literal)
    except UnusableWord as error:
        word = str(error)
        rule = rule_set.rules[next(number for text, number in listed if text == word)]
        if len(folded(word, as_literal if literal else character).text) > MAX_LETTERS:
            message = _("The word “%(word)s…” has more than %(limit)d letters.")
        else:
            message = _("The word “%(word)s” has no letter and no sign that can be looked for.")
        raise InvalidRule(rule.id, message % {"word": word[:30], "limit": MAX_LETTERS}) from error
    return Bank(words, frozenset(number for _word, number in listed), literal)


def _pattern(rule: Rule, number: int, detectors: Detectors) -> Pattern:
    try:
        if rule.kind is Kind.PATTERN:
            return tenant_pattern(number, rule.pattern)
        recogniser = detectors.recognisers.get(rule.entity)
        if recogniser is None:
            raise BadPattern(_("There is no recogniser “%(entity)s”.") % {"entity": rule.entity[:60]})
        return detector_pattern(number, recogniser.pattern, _spans(recogniser))
    except BadPattern as error:
        raise InvalidRule(rule.id, error.message) from error


def _spans(recogniser: Recogniser) -> Callable[[str, str], Sequence[tuple[int, int]]]:
    """Which parts of a candidate count."""
    own: Callable[[str, str], Sequence[tuple[int, int]]] | None = getattr(recogniser, "spans", None)
    if own is not None:
        return own
    valid, context = recogniser.valid, tuple(word.lower() for word in recogniser.context)

    def spans(candidate: str, before: str) -> Sequence[tuple[int, int]]:
        if context and not any(word in before.lower() for word in context):
            return ()
        return () if valid is not None and not valid(candidate) else ((0, len(candidate)),)

    return spans


class _Lane(NamedTuple):
    """A bank, and what its rules do with texts that go one way."""

    bank: Bank
    effects: Sequence[Effect | None]


class Guard:
    """What a tenant's texts pass: the platform's rules and its own. Immutable.

    `overrides` say, by the id of a rule, what it does in and out instead of what its set says. Canaries are looked for
    in what comes from a model, by the first rule of that kind, or one that blocks when no set has any.
    """

    def __init__(
        self,
        sets: Sequence[Compiled],
        overrides: Mapping[str, tuple[Action | None, Action | None]] = {},
        canaries: Sequence[str] = (),
    ) -> None:
        self._sets = tuple(sets)
        self._overrides = dict(overrides)
        self._canaries = tuple(canaries)
        self._lanes: dict[Direction, tuple[_Lane, ...]] = {}
        self._effects: dict[tuple[int, Direction], Sequence[Effect | None]] = {}
        # Texts that no rule means, by digest: a chat sends its system prompt and its history again with each question.
        self._ordinary: set[tuple[Direction, bool, bool, bytes]] = set()

    def looks(self, direction: Direction) -> bool:
        """Whether any rule looks at texts that go this way."""
        return bool(self._lanes_for(direction)) or (direction is Direction.IN and self._scores())

    def _scores(self) -> bool:
        return any(
            effect is not None and effect.rule.kind is Kind.INJECTION
            for number, compiled in enumerate(self._sets)
            for effect in self._effects_of(number, compiled, Direction.IN)
        )

    def check(
        self, text: str, direction: Direction, *, untrusted: bool = False, scored: bool = True
    ) -> Checked:
        """Look at a whole text. Raises CheckerFailed.

        Without `scored` it is not looked at for injections: a system prompt is its author's own. `untrusted` when a
        tenant's person has not written it: knowledge, results of tools. A megabyte takes about a second: not for an
        event loop.
        """
        known = (direction, untrusted, scored, _mark(text))
        if known in self._ordinary:
            return Checked(text, (), None)
        try:
            matches = self._scored(text, untrusted=untrusted) if direction is Direction.IN and scored else []
            if not matches and self._is_ordinary(text, direction):
                if len(self._ordinary) >= _MOST_ORDINARY:
                    self._ordinary.clear()
                self._ordinary.add(known)
                return Checked(text, (), None)
        except Exception as error:
            raise CheckerFailed(f"a checker failed: {type(error).__name__}") from error
        transducer = self.stream(direction)
        for match in matches:
            transducer.add(*match)
        first = transducer.feed(text)
        last = transducer.finish()
        return Checked(first.text + last.text, first.verdicts + last.verdicts, last.refused)

    def _is_ordinary(self, text: str, direction: Direction) -> bool:
        """Whether no word and no pattern is in the text, as all of it shows at once: ten times sooner than in a stream.

        What is found here may still turn out to be none; what is not found is not there.
        """
        letters: dict[bool, str] = {}
        data = b""
        for bank, _effects in self._lanes_for(direction):
            search = bank.search
            if isinstance(search, Patterns):
                data = data or narrow(text).encode()
                if search.may_match(data):
                    return False
                continue
            read = letters.get(bank.literal)
            if read is None:
                read = letters[bank.literal] = letters_of(text, literal=bank.literal)
            if search.may_hit(read):
                return False
        return True

    def stream(self, direction: Direction) -> Transducer:
        """A stream of text that goes this way. Injections are not scored in streams."""
        lanes = self._lanes_for(direction)
        plain: Letters | None = None
        literal: Letters | None = None
        view: View | None = None
        checkers = []
        for bank, effects in lanes:
            search = bank.search
            if isinstance(search, Patterns):
                view = view or View()
                checkers.append(Checker(search.stream(view), view, effects))
            elif bank.literal:
                literal = literal or Letters(as_literal)
                checkers.append(Checker(search.stream(literal), literal, effects))
            else:
                plain = plain or Letters()
                checkers.append(Checker(search.stream(plain), plain, effects))
        return Transducer(direction, checkers, [one for one in (plain, literal, view) if one is not None])

    def _lanes_for(self, direction: Direction) -> tuple[_Lane, ...]:
        lanes = self._lanes.get(direction)
        if lanes is None:
            lanes = self._lanes[direction] = tuple(self._lanes_of(direction))
        return lanes

    def _lanes_of(self, direction: Direction) -> Iterable[_Lane]:
        for number, compiled in enumerate(self._sets):
            effects = self._effects_of(number, compiled, direction)
            for bank in compiled.banks:
                if any(effects[rule] is not None for rule in bank.rules):
                    yield _Lane(bank, effects)
        if direction is Direction.OUT and self._canaries:
            effect = self._canary_effect()
            if effect is not None:
                yield _Lane(_canary_bank(self._canaries), (effect,))

    def _effects_of(self, number: int, compiled: Compiled, direction: Direction) -> Sequence[Effect | None]:
        known = self._effects.get((number, direction))
        if known is not None:
            return known
        effects: list[Effect | None] = []
        for place, rule in enumerate(compiled.rule_set.rules):
            action = rule.action(direction)
            if rule.id in self._overrides:
                action = self._overrides[rule.id][0 if direction is Direction.IN else 1]
            if action is None:
                effects.append(None)
                continue
            written = rule.replacement if action is Action.REPLACE else compiled.labels[place]
            order = compiled.orders[place]
            effects.append(Effect(rule, compiled.rule_set.version, action, written, (number, place), order))
        self._effects[number, direction] = effects
        return effects

    def _canary_effect(self) -> Effect | None:
        """What the first rule about canaries does; None when all of them are switched off."""
        known = False
        for number, compiled in enumerate(self._sets):
            for effect, rule in zip(
                self._effects_of(number, compiled, Direction.OUT), compiled.rule_set.rules, strict=True
            ):
                if rule.kind is Kind.CANARY:
                    known = True
                    if effect is not None:
                        return effect
        return None if known else Effect(_CANARY_RULE, 0, Action.BLOCK, "[CANARY]", (len(self._sets), 0))

    def _scored(self, text: str, *, untrusted: bool) -> list[tuple[int, int, int, Effect]]:
        """What the rules say to a text that is scored as an injection: places, scores and effects."""
        findings: dict[Score, Finding] = {}
        matches = []
        for number, compiled in enumerate(self._sets):
            for effect in self._effects_of(number, compiled, Direction.IN):
                if effect is None or effect.rule.kind is not Kind.INJECTION or compiled.score is None:
                    continue
                if compiled.score not in findings:
                    findings[compiled.score] = compiled.score(text, untrusted=untrusted)
                finding = findings[compiled.score]
                if finding.score >= effect.rule.threshold:
                    matches.append((finding.start, finding.end, finding.score, effect))
        return matches


def _mark(text: str) -> bytes:
    """What stands for a text: 128 bits of BLAKE2b. About 1 µs for each kilobyte."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=256)
def _canary_bank(canaries: tuple[str, ...]) -> Bank:
    """Canaries in every disguise: in any gaps and case, in pieces, backwards, and in base64, hex and rot13.

    About 2 ms for one of 32 characters, once.
    """
    words = {form for canary in canaries for form in _canary_forms(canary)}
    return Bank(Words(((word, 0) for word in sorted(words)), any_gaps=True), frozenset({0}))


def _canary_forms(canary: str) -> Iterable[str]:
    raw = canary.encode()
    forms = [(canary, 1.0), (canary[::-1], 1.0), (codecs.encode(canary, "rot13"), 1.0), (raw.hex(), 2.0)]
    for shift in range(3):
        # Which letters stand for the canary alone depends on how many bytes are before it, modulo 3.
        encoded = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        forms.append((encoded[(shift * 8 + 5) // 6 :][: len(raw) * 8 // 6 - 1], 4 / 3))
    for form, factor in forms:
        letters = folded(form).text
        size = min(len(letters), int(CANARY_PIECE * factor))
        yield from (letters[start : start + size] for start in range(len(letters) - size + 1) if size)
