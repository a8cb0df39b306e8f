"""The form of a key: what looks right is right, and any one wrong letter shows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import secrets

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
keys = st.builds(secrets.new_secret)


@given(keys)
def test_a_new_key_looks_right_and_has_the_form(secret: str) -> None:
    assert secrets.looks_right(secret)
    assert re.fullmatch(r"atr-[a-z0-9]{8}-[A-Za-z0-9_-]{43}[A-Za-z0-9]{6}", secret)
    assert len(secret) == secrets.LENGTH
    assert secret.startswith(f"atr-{secrets.prefix_of(secret)}-")


@given(keys, st.integers(0, secrets.LENGTH - 1), st.sampled_from(LETTERS))
def test_any_one_changed_letter_shows(secret: str, place: int, letter: str) -> None:
    changed = secret[:place] + letter + secret[place + 1 :]
    assert secrets.looks_right(changed) == (changed == secret)


@given(keys, st.integers(0, secrets.LENGTH - 2))
def test_two_swapped_neighbours_show(secret: str, place: int) -> None:
    swapped = secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]
    assert secrets.looks_right(swapped) == (swapped == secret)


@given(keys, st.integers(0, secrets.LENGTH - 1))
def test_a_cut_or_longer_key_shows(secret: str, length: int) -> None:
    assert not secrets.looks_right(secret[:length])
    assert not secrets.looks_right(secret + secret[:1])
    assert not secrets.looks_right(secret + "\n")


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    assert not secrets.looks_right(text)


@pytest.mark.parametrize(
    "text", ["atr-éééééééé-" + "a" * 49, "atr-１２３４５６７８-" + "a" * 49, "ATR-" + "a" * 58]
)
def test_letters_of_other_alphabets_are_not_taken_for_ours(text: str) -> None:
    assert not secrets.looks_right(text)


@given(keys)
def test_the_digest_is_of_the_whole_key(secret: str) -> None:
    """Attack 8: keys that share their first letters have nothing in common."""
    other = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    assert secrets.digest(secret) == secrets.digest(secret) != secrets.digest(other)
    assert secret not in secrets.digest(secret)
    assert len(secrets.digest(secret)) == 64


def test_keys_do_not_repeat() -> None:
    assert len({secrets.new_secret() for _ in range(1000)}) == 1000
