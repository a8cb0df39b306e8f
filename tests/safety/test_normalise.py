"""Letters come out as a reader sees them, and know where they came from."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.normalise import (
    BREAK,
    GAP,
    MAX_HIDDEN,
    MAX_VISIBLE,
    Letters,
    as_literal,
    folded,
    lookalikes,
    narrow,
    simplified,
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("BoMb", "bomb"),
        ("ｂｏｍｂ", "bomb"),
        ("𝐛𝓸𝖒𝚋 🅱🅾Ⓜ️🇧", "bombbomb"),
        ("b\u200bo\u0301m\u202eb", "bomb"),
        ("bömb bo\u0308mb bømb", "bombbombbomb"),
        ("вомв ВОМВ", "bombbomb"),
        ("炸彈 國", "炸弹国"),
        ("ﬁ ㎏ Ⅳ ٤٢", "fikgiv42"),
        ("Straße", "strasse"),
        ("폭탄 폭탄", "폭탄폭탄"),
        ("ｶﾞガ", "ガガ"),
    ],
)
def test_disguises_are_read_as_what_they_look_like(written: str, read: str) -> None:
    assert unicodedata.normalize("NFC", folded(written).text) == unicodedata.normalize("NFC", read)


def test_each_letter_knows_where_it_came_from() -> None:
    letters = folded("a\u200b ﬁ\u0301-彈")
    assert letters.text == "afi弹"
    assert letters.ats == [0, 3, 3, 6]


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=6), st.booleans())
def test_the_cut_makes_no_difference_to_the_letters(text: str, cuts: list[int], literal: bool) -> None:
    read = {"read": as_literal} if literal else {}
    one, many = Letters(**read), Letters(**read)
    one.feed(text, 0)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, stop in zip(places, places[1:], strict=False):
        many.feed(text[start:stop], start)
    assert (one.text, one.ats, bytes(one.flags), one.gap) == (
        many.text,
        many.ats,
        bytes(many.flags),
        many.gap,
    )


@given(st.text("ab 炸弹.\u200b\u0301", min_size=25, max_size=60))
def test_runs_and_single_code_points_are_read_alike(text: str) -> None:
    one, many = folded(text), Letters()
    for place, point in enumerate(text):
        many.feed(point, place)
    assert (one.text, one.ats, bytes(one.flags), one.gap) == (
        many.text,
        many.ats,
        bytes(many.flags),
        many.gap,
    )


@pytest.mark.parametrize(("gap", "most"), [(".", MAX_VISIBLE), ("\u200b", MAX_HIDDEN)])
def test_a_gap_that_is_too_long_is_a_break(gap: str, most: int) -> None:
    assert folded("a" + gap * most + "b").flags[1] & GAP != BREAK
    assert folded("a" + gap * (most + 1) + "b").flags[1] & GAP == BREAK


def test_only_letters_look_like_latin_ones() -> None:
    table = lookalikes()
    assert {table[letter] for letter in "аеорсух"} == set("aeopcyx")
    assert all(letter.isalpha() and not letter.isascii() for letter in table)
    assert all(latin.isascii() and latin.isalpha() and latin.islower() for latin in table.values())
    assert not any("\u3400" <= letter <= "\u9fff" for letter in table)
    assert len(simplified()) > 3_000


def test_both_cases_of_a_word_in_another_script_are_one_word() -> None:
    for word in ("вода", "Привет", "счёт"):
        assert folded(word.lower()).text == folded(word.upper()).text


@given(st.text(max_size=80))
def test_narrow_text_is_never_longer_and_stays_narrow(text: str) -> None:
    once = narrow(text)
    assert len(once) <= len(text)
    assert narrow(once) == once
    once.encode()


def test_narrow_text_shows_forms_of_ascii_as_ascii() -> None:
    assert narrow("ＡＢ１：\u200b⁴ \u00a0–٣") == "AB1:4  -3"
