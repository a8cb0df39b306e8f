"""Ids: in order of time inside, unambiguous outside."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import new_id, parse_public_id, public_id

prefixes = st.from_regex(r"[a-z]{3}", fullmatch=True)


@given(prefixes, st.uuids())
def test_the_public_form_can_be_read_back(prefix: str, value: UUID) -> None:
    text = public_id(prefix, value)
    assert parse_public_id(text, prefix) == value
    assert len(text) == 30
    assert set(text[4:]) <= set("0123456789abcdefghjkmnpqrstvwxyz")


@given(prefixes, st.uuids(), st.uuids())
def test_public_ids_sort_as_the_ids_do(prefix: str, one: UUID, other: UUID) -> None:
    assert (public_id(prefix, one) < public_id(prefix, other)) == (one.int < other.int)


@given(st.uuids(), st.integers(4, 29), st.characters())
def test_no_two_texts_mean_the_same_id(value: UUID, place: int, letter: str) -> None:
    text = public_id("key", value)
    changed = text[:place] + letter + text[place + 1 :]
    if changed == text:
        return
    with suppress(ValueError):
        assert parse_public_id(changed, "key") != value


@given(st.text(max_size=60))
def test_any_other_text_is_refused_and_never_breaks(text: str) -> None:
    with suppress(ValueError):
        assert public_id("key", parse_public_id(text, "key")) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "key",
        "key_",
        "mem_00000000000000000000000000",
        "key_0000000000000000000000000",
        "key_000000000000000000000000000",
        "key_z0000000000000000000000000",  # more than 128 bits
        "key_0000000000000000000000000I",
        "KEY_00000000000000000000000000",
        "key_00000000000000000000000000\n",
    ],
)
def test_it_refuses_what_is_not_of_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="not an id of the form key_"):
        parse_public_id(text, "key")


def test_new_ids_are_in_the_order_of_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert {value.version for value in ids} == {7}
