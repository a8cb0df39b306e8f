"""Words are found in disguise, and ordinary text is not mistaken for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.compiled import InvalidRule
from safety.normalise import MAX_HIDDEN, MAX_VISIBLE
from safety.spec import Action
from tests.safety.texts import guard, held_after, rule, spans, streamed, whole, words

LISTED = (
    "bomb",
    "ass",
    "satan",
    "pot",
    "the rapist",
    "forbidden phrase",
    "炸弹",
    "法轮功",
    "台独",
    "hello, world",
)


@pytest.mark.parametrize(
    "text",
    [
        "bomb",
        "a Bomb!",
        "b.o.m.b",
        "b o m b",
        "b_o m-b",
        "b - o - m - b",
        "bo-mb",
        "b\nomb b\n\no\nm\nb",
        "b\u200bomb",
        "b\u0336o\u0336m\u0336b\u0336",
        "ВОМВ",
        "𝔟𝔬𝔪𝔟",
        "f.o.r.b.i.d.d.e.n phrase",
        "f o r b i d d e n  p h r a s e",
        "forbidden\tphrase",
        "forbidden-phrase",
        "炸 弹",
        "炸.弹",
        "炸💣弹",
        "炸彈",
        "法，轮，功",
        "法\n轮\n功",
        "hello, world",
        "the   rapist",
        "класс pot",
        "class",
    ],
)
def test_a_word_is_found(text: str) -> None:
    assert whole(guard(words(*LISTED)), text).verdicts


@pytest.mark.parametrize(
    "text",
    [
        "as s",
        "was so",
        "sat an exam",
        "a sad song",
        "therapist",
        "forbiddenphrase",
        "forbidden, phrase",
        "hello world",
        "站在舞台，独自表演",
        "他被炸，弹药",
        "bo mb",
        "b omb",
        "Это рот",
        "cab om bed",
        "bo-mber",
        "a bo-mb-x",
        "p o, then t",
        "法轮，功",
        "as-so",
        "1 2 3",
    ],
)
def test_ordinary_text_is_not_taken_for_a_word(text: str) -> None:
    assert not whole(guard(words(*LISTED)), text).verdicts


def test_a_word_of_another_script_is_found_in_its_own_and_not_in_latin() -> None:
    russian = guard(words("рот", "бомба"))
    assert spans(whole(russian, "Это рот и БОМБА")) == [(4, 7), (10, 15)]
    assert not whole(russian, "a pot").verdicts


def test_a_long_word_wholly_in_look_alikes_is_found_in_any_text() -> None:
    assert whole(guard(words("peace")), "Русский текст: реасе").verdicts


def test_whole_words_are_whole() -> None:
    strict = guard(words("cat", "炸弹", whole_words=True))
    assert spans(whole(strict, "cat concat cats a.cat, 一炸弹一 cat的")) == [
        (0, 3),
        (18, 21),
        (24, 26),
        (28, 31),
    ]


def test_words_that_end_in_signs_are_found_by_their_signs() -> None:
    signs = guard(words("C++", "🔞", ".net"))
    assert spans(whole(signs, "C and C++, 🔞 net .net")) == [(6, 9), (11, 12), (17, 21)]


def test_a_longer_word_is_told_and_not_those_inside_it() -> None:
    both = guard(words("bomb", "bomber", "bombers"))
    assert spans(whole(both, "bombers")) == [(0, 7)]
    assert whole(both, "bomberx").text == "[SECRET]x"


def test_two_rules_with_one_word_both_tell() -> None:
    both = guard(
        rule("a", terms=("bomb",), action=Action.FLAG), rule("b", terms=("BOMB", "bo mb"), action=Action.MASK)
    )
    assert [verdict.rule for verdict in whole(both, "bomb").verdicts] == ["a", "b"]
    assert [verdict.rule for verdict in whole(both, "bo mb").verdicts] == ["b"]


@pytest.mark.parametrize("terms", [(), ("\u200b",), ("x" * 256,)])
def test_words_that_cannot_be_looked_for_are_refused_by_name(terms: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRule) as caught:
        guard(words("fine"), rule("wrong", terms=terms))
    assert caught.value.rule == "wrong"
    assert caught.value.message


@pytest.mark.parametrize(("gap", "most"), [("-", MAX_VISIBLE), ("\u200b", MAX_HIDDEN)])
def test_gaps_are_looked_through_up_to_their_bound(gap: str, most: int) -> None:
    bomb = guard(words("bomb"))
    assert whole(bomb, (gap * most).join("bomb")).verdicts
    assert not whole(bomb, (gap * (most + 1)).join("bomb")).verdicts
    assert held_after(bomb, "b" + gap * most) == most + 1
    assert held_after(bomb, "b" + gap * (most + 1)) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Hello",
        "Hello ",
        "sat ",
        "The cat sat on the mat. ",
        "好的，",
        "as so.",
        "他炸，",
        "therap ",
        "foo-",
    ],
)
def test_text_that_cannot_be_a_word_is_not_held(text: str) -> None:
    listed = guard(words("bomb", "satan", "炸弹", "assassin", "the rapist"))
    assert held_after(listed, text) == 0


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("a bo", 2),
        ("a b-o", 3),
        ("a bo-", 3),
        ("the", 3),
        ("the ", 4),
        ("the r", 5),
        ("no b", 1),
        ("炸", 1),
        ("炸 ", 2),
        ("bo\u200b", 3),
        ("bomb", 4),
        ("as s.", 2),
        ("bo mb", 1),
        ("a b o ", 4),
        ("therap", 0),
    ],
)
def test_text_is_held_from_where_a_word_may_have_begun(text: str, held: int) -> None:
    listed = guard(words("bomb", "bombs", "炸弹", "the rapist", "assassin", "satan"))
    assert held_after(listed, text) == held


def test_whole_words_do_not_hold_the_middle_of_words() -> None:
    assert held_after(guard(words("cat", whole_words=True)), "magic") == 0
    assert held_after(guard(words("cat")), "magic") == 1


@given(
    st.text("abc", min_size=1, max_size=30),
    st.sets(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=5),
)
def test_plain_text_is_searched_as_str_find_does(text: str, listed: set[str]) -> None:
    found = {
        span for span in spans(whole(guard(*(rule(word, terms=(word,)) for word in sorted(listed))), text))
    }
    inside = {
        (start, start + len(word))
        for word in listed
        for start in range(len(text))
        if text.startswith(word, start)
    }
    assert found == inside


@given(
    st.text("ab 炸弹.-,", max_size=14),
    st.sets(st.text("ab炸弹 ", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_what_is_held_can_become_a_match_and_nothing_else_can(text: str, listed: set[str]) -> None:
    """Both walls: text that left is never in a match that comes later; words' own tails show what is held rightly."""
    usable = sorted(word for word in listed if any(letter.isalpha() for letter in word))
    if not usable:
        return
    found = guard(words(*usable))
    held = held_after(found, text)
    rests = {word[place:] for word in usable for place in range(len(word))} | {"." + "a", " b ", "-b", "弹"}
    starts = [
        start
        for rest in rests
        for start, end in spans(streamed(found, [text, rest + " "]))
        if end > len(text)
    ]
    assert all(start >= len(text) - held for start in starts)
