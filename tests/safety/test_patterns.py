"""Regular expressions over streams: as on the whole text, held back exactly, refused where they would be a burden."""

from __future__ import annotations

import itertools

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from safety.beginnings import closure, longest, looks_ahead, may_be_empty
from safety.compiled import InvalidRule
from safety.patterns import MAX_BYTES
from safety.spec import Action
from safety.syntax import BadPattern, parse, source
from tests.safety.texts import guard, held_after, pattern, spans, streamed, whole

PATTERNS = [
    "abc", "ab|abc", "a{1,3}b", "a+b", "(?:ab)*c", "a.{0,3}c", "[ab]{2}c?", "[^a]b", r"\bab\b", r"ab\B", "^ab", "bc$",
    "(?m)^a+$", "(?i)aB", "(?i:a)b", "a(?:b|c\\b)?", "(a|ab)(c|bcd)", "(?s)a.b", r"\d+", r"a\s*b", "(?P<n>a)b", "a??b",
    r"\Qa.\Eb", r"\x61\x{62}", "[[:alpha:]]b", r"[^\d]a", r"\pLb", "(?:a|b|c){3}", "((a{1,2})b){1,2}", "炸.弹", r"a\nb",
    "(?:)a", "a|b|", "[a-c]b",
]  # fmt: skip
TEXT = st.text("abcABd1 .\n炸弹", max_size=14)


def longest_match() -> re2.Options:
    options = re2.Options()
    options.longest_match = True
    options.log_errors = False
    return options


@pytest.mark.parametrize("text", PATTERNS)
@given(TEXT)
def test_the_parser_reads_a_pattern_as_re2_does(text: str, sample: str) -> None:
    tree = parse(text)
    ours, theirs = (re2.compile(one, longest_match()) for one in (source(tree), text))
    assert [match.span() for match in ours.finditer(sample)] == [
        match.span() for match in theirs.finditer(sample)
    ]


@pytest.mark.parametrize(
    "text", [one for one in PATTERNS if not looks_ahead(parse(one)) and not may_be_empty(parse(one))]
)
def test_the_closure_is_what_can_be_continued(text: str) -> None:
    """Over all strings of a small alphabet, up to a length that every pattern here shows itself in."""
    tree = parse(text)
    letters = sorted({letter for letter in "abc1A.\n炸弹" if letter.lower() in text.lower()} | {"a", "b"})[:4]
    matches = re2.compile(source(tree), longest_match())
    open_ = closure(tree, complete=False)
    begins = re2.compile(open_, longest_match()) if open_ else None
    size = 4 if len(letters) > 3 else 5
    full = [
        one
        for count in range(1, size + 1)
        for one in map("".join, itertools.product(letters, repeat=count))
        if matches.fullmatch(one)
    ]
    wanted = {one[:place] for one in full for place in range(1, len(one))}
    for one in wanted:
        assert begins is not None
        assert begins.fullmatch(one), one
    if begins is None or longest(tree) is None or (longest(tree) or 0) > size:
        return
    for count in range(1, size):
        for one in map("".join, itertools.product(letters, repeat=count)):
            if begins.fullmatch(one) and set(text) <= set("abc|(){}?,0123456789:"):
                assert one in wanted


@pytest.mark.parametrize("text", [one for one in PATTERNS if not may_be_empty(parse(one))])
@given(TEXT, st.lists(st.integers(0, 14), max_size=5))
def test_the_cut_makes_no_difference(text: str, sample: str, cuts: list[int]) -> None:
    found = guard(pattern(text))
    places = sorted({0, len(sample), *(cut for cut in cuts if cut < len(sample))})
    pieces = [sample[start:stop] for start, stop in zip(places, places[1:], strict=False)]
    expected = [match.span() for match in re2.compile(text, longest_match()).finditer(sample)]
    assert spans(whole(found, sample)) == expected
    assert streamed(found, pieces) == whole(found, sample)
    assert streamed(found, list(sample)) == whole(found, sample)


@pytest.mark.parametrize(
    ("text", "sample", "held"),
    [
        ("ACME-[0-9]{4}", "see ACM", 3),
        ("ACME-[0-9]{4}", "see ACME ", 0),
        ("ACME-[0-9]{4}", "ACME-123", 8),
        ("ACME-[0-9]{4}", "ACME-1234", 0),
        (r"ACME-\d{4}\b", "ACME-1234", 9),
        ("a{1,5}b?", "xaaa", 3),
        (r"\bfoo", "xfo", 0),
        ("^ab", "ca", 0),
        ("^ab", "a", 1),
        ("ab$", "ab", 2),
        ("ab$", "abc", 0),
        ("a|abc", "a", 1),
        ("密码：.{2}", "密码", 2),
    ],
)
def test_text_is_held_from_where_a_match_may_have_begun(text: str, sample: str, held: int) -> None:
    assert held_after(guard(pattern(text)), sample) == held


def test_forms_of_ascii_and_hidden_characters_make_no_difference_to_patterns() -> None:
    found = guard(pattern(r"合同编号：[A-Z]{2}\d{4}"))
    assert whole(found, "合同编号:ＡＢ１２\u200b３４。").text == "[SECRET]。"
    assert whole(guard(pattern("[Ａ-Ｃ]１")), "B1").text == "[SECRET]"


def test_a_match_without_bound_ends_at_the_bound() -> None:
    found = guard(pattern("a+b*"))
    text = "a" * (2 * MAX_BYTES + 10) + "b"
    assert spans(whole(found, text)) == [
        (0, MAX_BYTES),
        (MAX_BYTES, 2 * MAX_BYTES),
        (2 * MAX_BYTES, len(text)),
    ]
    assert streamed(found, [text[place : place + 7] for place in range(0, len(text), 7)]) == whole(
        found, text
    )


def test_a_start_that_leads_nowhere_is_given_up_at_the_bound() -> None:
    found = guard(pattern("<[^>]*>"))
    text = "<" + "x" * 3 * MAX_BYTES + "<y>"
    transducer = found.stream(direction=whole(found, "<y>").verdicts[0].direction)
    most = 0
    for point in text:
        transducer.feed(point)
        most = max(most, transducer.held)
    assert MAX_BYTES <= most <= MAX_BYTES * 9 // 8
    assert spans(whole(found, text)) == [(len(text) - 3, len(text))]


@pytest.mark.parametrize(
    "text",
    [
        "a*",
        "",
        "x|",
        r"\b",
        "(?=a)b",
        "(?<!a)b",
        "(a",
        "a)",
        "[a",
        "a**",
        r"\1",
        r"\y",
        "a{2,1}",
        "a{1001}",
        "*a",
        ".*foo",
        r"[^x]+y",
        "(?:a{1,100}){1,100}",
        "(" * 60 + "a" + ")" * 60,
        "a" * 2_001,
        r"\C",
        "(?:[a-z]{1,50}[0-9]{1,50}){1,20}" * 9,
    ],
)
def test_what_cannot_be_run_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidRule) as caught:
        guard(pattern(text))
    assert caught.value.rule == "pattern"
    assert caught.value.message


@given(st.text(r"ab\()[]{}|*+?^$.,-0123:xpLQEdDwbBzA=<>P!imsU炸 ", max_size=12))
def test_whatever_is_written_is_run_as_re2_runs_it_or_refused(text: str) -> None:
    try:
        tree = parse(text)
        theirs = re2.compile(text, longest_match())
    except (BadPattern, re2.error):
        return
    ours = re2.compile(source(tree), longest_match())
    for sample in ("", "a", "ab", "ba", "aab 01", "(a)", "炸a\nb", "x-Ab", "^$.b|", "{1,2}"):
        assert [match.span() for match in ours.finditer(sample)] == [
            match.span() for match in theirs.finditer(sample)
        ]


def test_a_hostile_pattern_costs_linear_time() -> None:
    """`(a+)+$` takes a backtracking engine longer than the universe has for this text."""
    found = guard(pattern("(a+)+$", action=Action.FLAG))
    assert not whole(found, "a" * 20_000 + "b").verdicts
