"""What counts as personal data, what does not, and where exactly it is."""

from __future__ import annotations

import random
import re
import string

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from safety.pii import RECOGNISERS, WINDOW, Match, checks, find, finder, fold
from tests.safety import made_up
from tests.safety.evaluation import ordinary_prompts, pii_cases

seeds = st.integers(0, 2**32)


def found(text: str) -> list[tuple[str, str]]:
    """Entities and the pieces of text that they are."""
    return [(match.entity, text[match.start : match.end]) for match in find(text)]


def test_check_digits() -> None:
    assert checks.luhn("4111111111111111")
    assert not checks.luhn("4111111111111112")
    assert checks.resident_id("11010519491231002X")
    assert checks.resident_id("11010519491231002x")
    assert not checks.resident_id("110105194912310021")
    assert not checks.resident_id("99010519491231002X")
    assert not checks.resident_id("110105194902310021")
    assert checks.iban("GB82WEST12345698765432")
    assert not checks.iban("GB82WEST12345698765433")
    assert not checks.iban("GB82WEST1234569876543")


@given(seeds, st.sampled_from(made_up.NETWORKS), st.sampled_from(["", " ", "-"]))
def test_every_card_is_found_and_none_with_a_wrong_digit(
    seed: int, network: tuple[str, int], separator: str
) -> None:
    chance = random.Random(seed)
    number = made_up.card(chance, *network)
    if len(set(number)) == 1:
        return
    sizes = (4, 6, 5) if len(number) < 16 else (4,)
    written = made_up.in_groups(number, sizes, separator)
    assert ("CREDIT_CARD", written) in found(f"card {written}, thanks")
    place = chance.randrange(4, len(number) - 1)
    wrong = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
    # In groups, a part of a wrong number may be a right one: 1 in 10.
    assert "CREDIT_CARD" not in dict(found(f"card {wrong}, thanks"))


@given(seeds, st.sampled_from(["", "full width", "groups"]))
def test_every_resident_id_is_found_and_none_with_a_wrong_digit(seed: int, style: str) -> None:
    chance = random.Random(seed)
    number = made_up.resident_id(chance)
    written = {
        "": number,
        "full width": made_up.full_width(number),
        "groups": made_up.in_groups(number, (6, 8, 4)),
    }[style]
    assert found(f"身份证{written}。") == [("CN_RESIDENT_ID", written)]
    wrong = number[:16] + str((int(number[16]) + 1) % 10) + number[17]
    assert "CN_RESIDENT_ID" not in dict(found(f"身份证{wrong}。"))


@given(seeds, st.sampled_from(sorted(checks.IBAN_LENGTHS)), st.booleans())
def test_every_iban_is_found(seed: int, country: str, grouped: bool) -> None:
    number = made_up.iban(random.Random(seed), country)
    written = made_up.in_groups(number, (4,)) if grouped else number
    assert found(f"pay to {written} please") == [("IBAN_CODE", written)]


@given(st.text(st.sampled_from(string.printable + "中文电话号码身份证１２３＠。，\u200b"), max_size=200))
def test_any_text_is_read_without_an_error_and_matches_do_not_overlap(text: str) -> None:
    last = 0
    for match in find(text):
        assert last <= match.start < match.end <= len(text)
        last = match.end


@given(st.text(max_size=60))
def test_folding_keeps_every_place(text: str) -> None:
    assert len(fold(text)) == len(text)


@pytest.mark.parametrize("entity", RECOGNISERS)
def test_patterns_are_bounded_and_say_how_long(entity: str) -> None:
    one = RECOGNISERS[entity]
    least, most = re._parser.parse(one.pattern).getwidth()  # type: ignore[attr-defined]
    assert 0 < least <= most <= one.longest < most * 1.2 + 5
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20
    re2.compile(one.pattern, options)


@pytest.mark.slow
def test_what_a_stream_uses_says_the_same_as_the_whole() -> None:
    """`pattern` and `spans` alone, as a stream uses them, find what `find` finds, overlaps between entities aside."""
    programs = {}
    for one in RECOGNISERS.values():
        options = re2.Options()
        options.longest_match = True
        options.max_mem = 64 << 20
        programs[one.entity] = re2.compile(one.pattern, options)
    for case in pii_cases()[::8]:
        plain = fold(case["text"])
        alone = set()
        for one in RECOGNISERS.values():
            for candidate in programs[one.entity].finditer(plain):
                start, end = candidate.span()
                for first, last in one.spans(plain[start:end], plain[max(0, start - WINDOW) : start]):
                    alone.add(Match(one.entity, start + first, start + last))
        missing = set(find(case["text"])) - alone
        assert len(missing) <= 1, (case["text"], missing)


def test_valid_is_the_short_form_of_spans() -> None:
    assert RECOGNISERS["CREDIT_CARD"].valid("4111111111111111")  # type: ignore[misc]
    assert not RECOGNISERS["CREDIT_CARD"].valid("4111111111111112")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("身份证11010519491231002X", "CN_RESIDENT_ID"),  # no telephone number and no card
        ("card 4111 1111 1111 1111", "CREDIT_CARD"),
        ("电话13800138000", "CN_PHONE_NUMBER"),
        ("call +86 10 6275 1234", "PHONE_NUMBER"),
    ],
)
def test_what_could_be_two_things_is_one(text: str, entity: str) -> None:
    assert [name for name, _ in found(text)] == [entity]


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4 is out",
        "订单号 13912345678 已发货",
        "GET /items/13800138000",
        "the 16 digits 1234567890123456",
        "sk-learn-pipeline-for-beginners",
        "git@github.com:a/b.git",
        "postgres://app:pw@db.example.com/x",
        "-----BEGIN RSA PRIVATE" + " KEY----- is a header",
    ],
)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert found(text) == []


def test_invisible_characters_are_looked_through_and_covered() -> None:
    assert found("手机138\u200b0013\u200b8000。") == [("CN_PHONE_NUMBER", "138\u200b0013\u200b8000")]


def test_our_own_keys_are_found() -> None:
    from access.secrets import new_secret

    secret = new_secret()
    assert found(f"my key is {secret}") == [("API_KEY", secret)]


def test_ordinary_prompts_hold_none() -> None:
    loud = [prompt for prompt in ordinary_prompts() if find(prompt)]
    assert len(loud) <= len(ordinary_prompts()) // 200, loud


def test_only_the_kinds_asked_for() -> None:
    text = "a@b.com 13800138000"
    assert [match.entity for match in find(text, ["EMAIL_ADDRESS"])] == ["EMAIL_ADDRESS"]


@pytest.mark.slow
def test_long_rows_of_digits_and_letters_are_read_in_time() -> None:
    for text in ("1" * 60_000, "1 " * 30_000, "a" * 60_000, "a.b@" * 15_000, "ab12 " * 12_000):
        matches = find(text)
        assert all(0 <= match.start < match.end <= len(text) for match in matches)


def test_every_letter_of_a_pattern_can_be_searched_for_in_whole_texts() -> None:
    assert len(finder._OTHERS) <= 0x40
    assert not any(re.search("[\x80-\xbf]", one.pattern) for one in RECOGNISERS.values())
