"""Sets put together for a tenant: directions, overrides, detectors, canaries, and what breaks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from safety import compiled as compiled_module
from safety.compiled import CheckerFailed, Detectors, Guard, InvalidRule, compile_rule_set
from safety.spec import Action, Direction, Kind, Rule, RuleSet
from tests.safety.texts import NO_DETECTORS, fed, guard, pattern, rule, spans, streamed, whole, words


class Shape(NamedTuple):
    """A recogniser, as small as can be."""

    entity: str
    pattern: str
    longest: int
    valid: Callable[[str], bool] | None = None
    context: tuple[str, ...] = ()
    label: str = "NUMBER"


class Spotter(NamedTuple):
    """A recogniser that says which parts of a candidate count."""

    entity: str
    pattern: str
    longest: int
    spans: Callable[[str, str], Sequence[tuple[int, int]]]
    valid: Callable[[str], bool] | None = None
    context: tuple[str, ...] = ()
    label: str = "CODE"


class Said(NamedTuple):
    """What a detector of injections says."""

    score: int
    start: int
    end: int


def score(text: str, *, untrusted: bool = False) -> Said:
    """80 for one phrase, 95 where nobody of the tenant wrote it."""
    place = text.find("ignore all")
    return Said(0, 0, 0) if place < 0 else Said(95 if untrusted else 80, place, place + 10)


def even(candidate: str) -> bool:
    """Whether it ends in an even digit."""
    return candidate[-1] in "02468"


DETECTORS = Detectors(
    {
        "CARD": Shape("CARD", r"\b\d{4}-?\d{4}\b", 9, even),
        "ACCOUNT": Shape("ACCOUNT", r"\d{6}", 6, None, ("account", "账号"), "ACCOUNT"),
        "CODE": Spotter(
            "CODE", r"[a-z]{1,8}\d{2}[^0-9]", 11, lambda found, before: ((len(found) - 3, len(found) - 1),)
        ),
    },
    score,
)


def compiled(*rules: Rule, name: str = "set", version: int = 1) -> compiled_module.Compiled:
    """A set, ready to run."""
    return compile_rule_set(RuleSet(name, version, rules), detectors=DETECTORS)


def test_a_rule_is_looked_at_only_in_the_directions_that_it_has() -> None:
    one = guard(Rule(id="out", kind=Kind.TERMS, category="secret", terms=("bomb",), action_out=Action.MASK))
    assert whole(one, "bomb", Direction.IN) == ("bomb", (), None)
    assert one.stream(Direction.IN).feed("bom").text == "bom"
    assert whole(one, "bomb", Direction.OUT).text == "[SECRET]"


def test_a_verdict_names_rule_version_and_place() -> None:
    found = Guard([compiled(words("bomb"), version=7)])
    (verdict,) = whole(found, "a bomb", Direction.IN).verdicts
    assert (verdict.rule, verdict.version, verdict.kind, verdict.action) == (
        "words",
        7,
        Kind.TERMS,
        Action.MASK,
    )
    assert (verdict.start, verdict.end, verdict.direction) == (2, 6, Direction.IN)


def test_overrides_tighten_loosen_and_switch_on_and_off() -> None:
    one = compiled(
        rule("a", terms=("apple",), action=Action.MASK),
        rule("b", terms=("berry",), action=Action.BLOCK),
        Rule(id="c", kind=Kind.PATTERN, category="secret", pattern="cherr[y]"),
    )
    changed = Guard(
        [one],
        {"a": (Action.BLOCK, None), "b": (Action.FLAG, Action.FLAG), "c": (None, Action.MASK)},
    )
    assert whole(changed, "apple", Direction.IN).refused is not None
    assert whole(changed, "apple berry cherry").text == "apple berry [SECRET]"
    assert whole(changed, "cherry", Direction.IN).text == "cherry"
    assert whole(Guard([one]), "apple berry cherry").refused is not None


def test_several_sets_look_at_one_text() -> None:
    found = Guard([compiled(words("bomb"), name="platform"), compiled(pattern("b[o]mber"), name="tenant")])
    assert [verdict.rule for verdict in whole(found, "bomber").verdicts] == ["pattern", "words"]
    assert whole(found, "bomber").text == "[SECRET]"


def test_candidates_are_held_and_only_valid_ones_count() -> None:
    found = Guard([compiled(rule("card", Kind.PII, entity="CARD"))])
    assert whole(found, "see 1234-5678, 1234-5679.").text == "see [NUMBER], 1234-5679."
    assert streamed(found, list("see 1234-5678, 1234-5679.")) == whole(found, "see 1234-5678, 1234-5679.")
    transducer = found.stream(Direction.OUT)
    assert transducer.feed("see 1234-567").text == "see "
    assert transducer.feed("9 ").text == "1234-5679 "


def test_an_ambiguous_form_needs_a_word_before_it() -> None:
    found = Guard([compiled(rule("account", Kind.PII, entity="ACCOUNT"))])
    assert whole(found, "Account: 123456").text == "Account: [ACCOUNT]"
    assert whole(found, "order 123456").text == "order 123456"
    text = "账号是 123456" + " and so on" * 200 + " account 654321"
    assert len(whole(found, text).verdicts) == 2
    assert streamed(found, list(text)) == whole(found, text)


def test_a_recogniser_may_count_a_part_of_a_candidate() -> None:
    found = Guard([compiled(rule("code", Kind.PII, entity="CODE"))])
    text = "zz ab12 ab34, é一ab56x"
    assert whole(found, text).text == "zz ab[CODE] ab[CODE], é一ab[CODE]x"
    assert streamed(found, list(text)) == whole(found, text)


def test_of_two_recognisers_the_better_one_has_the_place() -> None:
    """As listed: a code is not a card, whichever is longer; and in a stream as in one piece."""
    ranked = Detectors(
        {"BEST": Shape("BEST", r"7\d{4}", 5, label="BEST"), "LONG": Shape("LONG", r"\d{8}", 8, label="LONG")}
    )
    rules = (rule("long", Kind.PII, entity="LONG"), rule("best", Kind.PII, entity="BEST"))
    found = Guard([compile_rule_set(RuleSet("set", 1, rules), detectors=ranked)])
    text = "a 12712345 and 12312312 b"
    assert whole(found, text).text == "a 12[BEST]5 and [LONG] b"
    assert streamed(found, list(text)) == whole(found, text)


def test_a_long_body_with_large_counts_is_one_candidate() -> None:
    body = Detectors({"KEY": Shape("KEY", "BEGIN" + "[a-z]{0,1000}" * 4 + "END", 4_008, label="KEY")})
    found = Guard(
        [compile_rule_set(RuleSet("set", 1, (rule("key", Kind.PII, entity="KEY"),)), detectors=body)]
    )
    text = "x BEGIN" + "abc" * 900 + "END y"
    assert whole(found, text).text == "x [KEY] y"
    assert streamed(found, [text[place : place + 3] for place in range(0, len(text), 3)]) == whole(
        found, text
    )


def test_injections_are_scored_on_whole_texts_that_come_in() -> None:
    found = Guard([compiled(rule("hint", Kind.INJECTION, Action.BLOCK, threshold=90), words("bomb"))])
    text = "bomb: ignore all of it"
    assert found.check(text, Direction.IN).refused is None
    checked = found.check(text, Direction.IN, untrusted=True)
    assert checked.refused is not None
    assert (checked.text, checked.refused.score, checked.refused.start) == ("[SECRET]: ", 95, 6)
    assert found.check(text, Direction.OUT).refused is None


@pytest.mark.parametrize(
    "wrong",
    [
        rule("wrong", Kind.PII, entity="NOTHING"),
        rule("wrong", Kind.INJECTION, threshold=0),
        Rule(id="wrong", kind=Kind.INJECTION, category="x", threshold=5, action_out=Action.BLOCK),
        Rule(id="wrong", kind=Kind.CANARY, category="x", action_in=Action.BLOCK),
        rule("wrong", Kind.PATTERN, pattern="("),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(wrong: Rule) -> None:
    with pytest.raises(InvalidRule) as caught:
        compiled(words("fine"), wrong)
    assert caught.value.rule == "wrong"
    assert caught.value.message


def test_an_injection_rule_needs_a_detector() -> None:
    with pytest.raises(InvalidRule):
        compile_rule_set(RuleSet("set", 1, (rule("x", Kind.INJECTION, threshold=5),)), detectors=NO_DETECTORS)


def test_a_mask_says_what_was_there() -> None:
    found = Guard(
        [
            compiled(
                words("bomb", category="weapons & more"), rule("x", Kind.PATTERN, pattern="xx", category="—")
            )
        ]
    )
    assert whole(found, "bomb xx").text == "[WEAPONS___MORE] [PATTERN]"


CANARY = "cnr_8f3a9c2b7d1e4f60q5w"


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        CANARY.upper(),
        " ".join(CANARY),
        "-".join(CANARY),
        "\n".join(CANARY),
        "\u200b".join(CANARY),
        CANARY[::-1],
        CANARY.encode().hex(),
        base64.b64encode(CANARY.encode()).decode(),
        base64.b64encode(b"x" + CANARY.encode()).decode(),
        base64.b64encode(b"xy" + CANARY.encode() + b"z").decode(),
        CANARY.replace("_", ""),
        CANARY[4:20],
        f"half of it is {CANARY[:16]}",
        "pae_8s3n9p2o7q1r4s60d5j",
    ],
)
def test_a_canary_never_leaves_in_any_disguise(text: str) -> None:
    found = Guard([], canaries=[CANARY])
    for pieces in ([text], list(text)):
        outcome = fed(found.stream(Direction.OUT), pieces)
        assert outcome.refused is not None
        assert outcome.refused.kind is Kind.CANARY
        assert not set(outcome.text.split()) & {CANARY, CANARY.upper()}
    assert whole(found, text, Direction.IN).refused is None


@pytest.mark.parametrize("text", ["cnr_", "a canary sings", "8f3a9c", "The value is 8f3a and 9c2b."])
def test_what_is_not_the_canary_leaves(text: str) -> None:
    assert whole(Guard([], canaries=[CANARY]), text) == (text, (), None)


def test_the_rule_about_canaries_says_what_happens() -> None:
    masks = compiled(rule("mine", Kind.CANARY, Action.MASK, category="planted"))
    assert whole(Guard([masks], canaries=[CANARY]), f"it is {CANARY[4:16]} ok").text == "it is [PLANTED] ok"
    off = Guard([masks], {"mine": (None, None)}, [CANARY])
    assert whole(off, CANARY).verdicts == ()


@pytest.mark.parametrize("where", ["valid", "score"])
def test_a_checker_that_breaks_closes_the_door(where: str) -> None:
    def breaks(*_args: object, **_named: object) -> bool:
        raise RuntimeError("the text, which must not be told")

    broken = Detectors({"CARD": Shape("CARD", r"\d{4}", 4, breaks)}, breaks)  # type: ignore[arg-type]
    listed = (
        rule("card", Kind.PII, entity="CARD") if where == "valid" else rule("x", Kind.INJECTION, threshold=1)
    )
    found = Guard([compile_rule_set(RuleSet("set", 1, (listed,)), detectors=broken)])
    with pytest.raises(CheckerFailed) as caught:
        found.check("see 1234 here", Direction.IN)
    assert "which must not" not in str(caught.value)


def test_a_stream_that_broke_stays_closed() -> None:
    def breaks(_candidate: str) -> bool:
        raise RuntimeError

    found = Guard(
        [
            compile_rule_set(
                RuleSet("set", 1, (rule("card", Kind.PII, entity="CARD"),)),
                detectors=Detectors({"CARD": Shape("CARD", r"\d{4}", 4, breaks)}),
            )
        ]
    )
    transducer = found.stream(Direction.OUT)
    assert transducer.feed("see 12").text == "see "
    for attempt in (lambda: transducer.feed("34 "), lambda: transducer.feed("more"), transducer.finish):
        with pytest.raises(CheckerFailed):
            attempt()


def test_detectors_of_the_platform_are_used_when_none_are_given() -> None:
    compiled_module.built_in_detectors.cache_clear()
    assert compile_rule_set(RuleSet("set", 1, (words("bomb"),))).rule_set.id == "set"
    assert spans(whole(Guard([compile_rule_set(RuleSet("set", 1, (words("bomb"),)))]), "bomb")) == [(0, 4)]
