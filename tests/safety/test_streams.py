"""L21, both walls: no prefix of a match leaves, wherever a text is cut, and nothing else waits."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.automaton import WordStream
from safety.compiled import Guard, compile_rule_set
from safety.patterns import MAX_BYTES
from safety.spec import Action, Direction, Kind, RuleSet
from safety.stream import BLOCK, MAX_VERDICTS
from tests.examples import examples
from tests.safety.texts import (
    DISGUISES,
    NO_DETECTORS,
    decoded,
    fed,
    guard,
    held_after,
    pattern,
    rule,
    spans,
    streamed,
    whole,
    words,
)

PHRASES = ("cyanide", "project apex", "炸弹药", "台湾独")
CASES = [
    pytest.param(phrase, disguise, id=f"{phrase}, {name}")
    for phrase in PHRASES
    for name, disguise in DISGUISES.items()
]


def leaves_at_every_cut(of: Guard, before: str, hidden: str, after: str) -> set[str]:
    """All that leaves a stream before it is refused, over all pairs and triples of chunks cut at bytes."""
    data = (before + hidden + after).encode()
    low, high = max(0, len(before.encode()) - 2), len((before + hidden).encode()) + 2
    places = range(low, min(high, len(data)) + 1)
    step = 1 if len(places) < 30 else 2
    cuts = [(place,) for place in places] + list(itertools.combinations(places[::step], 2))
    left = set()
    for cut in cuts:
        outcome = streamed(of, decoded(data, cut))
        assert outcome.refused is not None, cut
        left.add(outcome.text)
    return left


@pytest.mark.parametrize(("phrase", "disguise"), CASES)
def test_nothing_of_a_blocked_phrase_leaves_wherever_it_is_cut(
    phrase: str, disguise: Callable[[str], str]
) -> None:
    found = guard(words(*PHRASES, action=Action.BLOCK))
    assert leaves_at_every_cut(found, "Well, 好的: ", disguise(phrase), " and so on") == {"Well, 好的: "}


@pytest.mark.parametrize(("phrase", "disguise"), CASES)
def test_a_masked_phrase_is_masked_wherever_it_is_cut(phrase: str, disguise: Callable[[str], str]) -> None:
    found = guard(words(*PHRASES))
    data = f"Well, {disguise(phrase)} and so on".encode()
    for cut in range(len(data) + 1):
        assert streamed(found, decoded(data, (cut,))).text == "Well, [SECRET] and so on"


@pytest.mark.parametrize("name", DISGUISES)
def test_the_same_text_without_the_phrase_arrives_unchanged(name: str) -> None:
    text = f"Well, 好的: {DISGUISES[name]('cyan ice, projects, 炸药 and 台湾')} and so on"
    found = guard(words(*PHRASES, action=Action.BLOCK))
    data = text.encode()
    for cut in range(len(data) + 1):
        assert streamed(found, decoded(data, (cut,))) == (text, (), None)


def test_without_holding_back_a_prefix_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the tests above see a guard that does not hold back."""
    monkeypatch.setattr(WordStream, "_first_alive", lambda self, number, text, scanned: self.letters.end)
    found = guard(words(*PHRASES, action=Action.BLOCK))
    data = b"Well, cyanide and so on"
    left = {streamed(found, decoded(data, (cut,))).text for cut in range(len(data))}
    assert any(text.startswith("Well, c") for text in left)


RULES = st.lists(
    st.one_of(
        st.builds(
            lambda terms, whole_words: {
                "kind": Kind.TERMS,
                "terms": tuple(terms),
                "whole_words": whole_words,
            },
            st.sets(
                st.text("abc炸弹а ,.", min_size=1, max_size=5).filter(
                    lambda text: any(map(str.isalnum, text))
                ),
                min_size=1,
                max_size=4,
            ),
            st.booleans(),
        ),
        st.builds(
            lambda text: {"kind": Kind.PATTERN, "pattern": text},
            st.sampled_from(
                [
                    "a+b",
                    "ab{1,3}",
                    "a.{0,4}c",
                    r"\bab\b",
                    "ab$",
                    "^ab",
                    "(?i)abc?",
                    "(a|ab)(c|bcd)",
                    "a[^b]*b",
                    "炸.弹",
                ]
            ),
        ),
    ),
    min_size=1,
    max_size=4,
)
TEXT = st.text("aabbc ABа.-,_\n炸弹彈\u200b\u0301ａ😀В1ж，㋀月", max_size=40)


@settings(max_examples=examples(300))
@given(RULES, st.lists(st.sampled_from(list(Action)), min_size=4, max_size=4), TEXT, st.data())
def test_every_cut_gives_the_same_text_and_the_same_verdicts(
    fields: list[dict[str, object]], actions: list[Action], text: str, data: st.DataObject
) -> None:
    found = guard(
        *(
            rule(f"rule{number}", action=actions[number], replacement="<other>", **one)
            for number, one in enumerate(fields)
        )
    )
    expected = whole(found, text)
    for _ in range(3):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
        pieces = [text[start:stop] for start, stop in itertools.pairwise((0, *cuts, len(text)))]
        assert streamed(found, pieces) == expected
    transducer, left = found.stream(Direction.OUT), ""
    for point in text:
        left += transducer.feed(point).text
        assert expected.text.startswith(left)
    assert streamed(found, list(text)) == expected


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (", aa ", "b， ,aab"),
        ("c ,b", "c ，b"),
        ("1月 abc", "㋀ abc"),
        ("$ x", "a $x"),
        ("a， b", "a , b"),
        ("ab 炸", "xab炸"),
    ],
)
def test_gaps_of_a_word_are_held_over_too(term: str, text: str) -> None:
    found = guard(words(term, action=Action.BLOCK))
    expected = whole(found, text)
    assert expected.refused is not None
    assert streamed(found, list(text)) == expected


def test_a_text_longer_than_a_block_is_the_same_in_one_piece() -> None:
    found = guard(words("bomb", "炸弹"), pattern("x{3,9}y"))
    text = ("b" * (BLOCK - 2) + "bomb 炸" + "弹" + "xxxxxy ") * 3
    assert streamed(found, list(text)) == whole(found, text)
    assert len(spans(whole(found, text))) == 9


@pytest.mark.parametrize(
    "text", ["Good morning", "今天天气很好。", "def f(x): return x + 1\n", "    ", "\u200b\u200b", "..."]
)
def test_ordinary_text_leaves_at_once(text: str) -> None:
    found = guard(words("cyanide", "炸弹药"), pattern(r"ACME-\d{4}"))
    transducer = found.stream(Direction.OUT)
    assert transducer.feed(text).text == text
    assert transducer.held == 0


def test_a_match_leaves_as_soon_as_it_is_certain() -> None:
    transducer = guard(words("cyanide")).stream(Direction.OUT)
    assert transducer.feed("some cyanid").text == "some "
    assert transducer.feed("e").text == "[SECRET]"
    assert transducer.feed("...").text == "..."


def test_nothing_leaves_after_a_refusal() -> None:
    transducer = guard(words("cyanide", action=Action.BLOCK), pattern("clean", Action.MASK)).stream(
        Direction.OUT
    )
    first = transducer.feed("clean, then cyanide, then more")
    assert first.text == "[SECRET], then "
    assert first.refused == first.verdicts[-1]
    assert (first.refused.start, first.refused.end) == (12, 19)
    assert transducer.feed("more").text == transducer.finish().text == ""
    assert transducer.feed("more").refused == first.refused
    assert transducer.held == 0


def test_review_refuses_too() -> None:
    assert whole(guard(words("cyanide", action=Action.REVIEW)), "a cyanide").refused is not None


def test_of_matches_that_overlap_the_strictest_counts_and_one_mask_is_written() -> None:
    found = guard(
        rule("a", terms=("abcd",), action=Action.MASK),
        rule("b", terms=("cdef",), action=Action.REPLACE, replacement="…"),
        rule("c", terms=("de",), action=Action.FLAG),
    )
    outcome = whole(found, "xabcdefx abcd")
    assert outcome.text == "x…x [SECRET]"
    assert [verdict.rule for verdict in outcome.verdicts] == ["a", "b", "c", "a"]
    assert streamed(found, list("xabcdefx abcd")) == outcome


def test_a_refusal_that_overlaps_a_mask_takes_it_along() -> None:
    found = guard(rule("a", terms=("abcd",)), rule("b", terms=("cdef",), action=Action.BLOCK))
    assert whole(found, "x abcdef").text == "x "
    assert streamed(found, list("x abcdef")) == whole(found, "x abcdef")


def test_a_flag_changes_nothing() -> None:
    outcome = whole(guard(words("cyanide", action=Action.FLAG)), "a cyanide")
    assert (outcome.text, spans(outcome)) == ("a cyanide", [(2, 9)])


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a", ".", " ", "\u200b", "炸", "-b", "b\u200b", "<", "ab", "\u0301", "9"])
def test_ten_million_characters_of_one_kind_do_not_grow_the_state(unit: str) -> None:
    """The state is looked at after a hundred blocks and after two hundred: it has stopped growing long before."""
    found = guard(
        words("bomb", "aab", "炸弹", "b b c"),
        pattern("<[^>]*>"),
        pattern("a{2,900}c"),
        rule("ab", terms=("ab", "ba")),
    )
    transducer = found.stream(Direction.OUT)
    sizes = []
    block = unit * (BLOCK // len(unit))
    for number in range(24):
        transducer.feed(block)
        if number in (11, 23):
            kept = sum(len(source.text) for source in transducer._sources)
            sizes.append((transducer.held, kept))
    for held, kept in sizes:
        assert held <= 5_000
        assert kept <= 8_000
    assert abs(sizes[0][0] - sizes[1][0]) <= MAX_BYTES
    assert fed(transducer, [""]).refused is None


def test_verdicts_are_told_up_to_a_bound_and_count_beyond_it() -> None:
    outcome = whole(guard(words("x")), "x" * (MAX_VERDICTS + 5))
    assert len(outcome.verdicts) == MAX_VERDICTS
    assert outcome.text == "[SECRET]" * (MAX_VERDICTS + 5)


def test_half_a_surrogate_pair_is_no_way_around() -> None:
    found = guard(words("bomb", action=Action.BLOCK), pattern("x.y"))
    assert whole(found, "\ud83d bomb").refused is not None
    assert whole(found, "x\ud83dy").text == "[SECRET]"


def test_ten_thousand_words_find_each_of_them() -> None:
    listed = tuple(f"word{number}q" for number in range(10_000))
    found = Guard([compile_rule_set(RuleSet("set", 1, (words(*listed),)), detectors=NO_DETECTORS)])
    assert spans(whole(found, "word9999q word10000q word0q")) == [(0, 9), (21, 27)]
    assert held_after(found, "word77") == 6


def test_two_streams_of_one_guard_know_nothing_of_each_other() -> None:
    found = guard(words("bomb"))
    first, second = found.stream(Direction.OUT), found.stream(Direction.OUT)
    assert first.feed("bo").text == ""
    assert fed(second, ["mb"]).text == "mb"
