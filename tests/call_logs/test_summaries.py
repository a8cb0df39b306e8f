"""Summaries: bounded however long a text is, redacted before they are cut, and never half of what was to be masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.call_logs import redaction
from inference.call_logs.summaries import (
    FULL_CHARS,
    GAP,
    HEAD,
    HEARD,
    MARGIN,
    TAIL,
    Heard,
    hear_answer,
    parameters_of,
    prompt_heard,
)

NONE: frozenset[str] = frozenset()
MAIL = "someone.private@example.com"


@pytest.fixture(autouse=True)
def _usual_redactor() -> Iterator[None]:
    yield
    redaction.use(None)


def heard(*pieces: str, keeps_all: bool = False) -> Heard:
    found = Heard(keeps_all=keeps_all)
    for piece in pieces:
        found.add(piece)
    return found


def cut_up(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]


@given(
    before=st.integers(0, 3 * HEARD),
    after=st.integers(0, 3 * HEARD),
    cuts=st.lists(st.integers(0, 10**6), max_size=40),
)
def test_no_part_of_what_is_masked_is_ever_in_a_summary(before: int, after: int, cuts: list[int]) -> None:
    """Wherever it stands, and wherever the text is cut into pieces."""
    found = heard(*cut_up("x " * (before // 2) + MAIL + " y" * (after // 2), cuts))
    summary = found.summary(NONE)
    assert not re.search(r"private|example|@", summary)
    assert len(summary) <= HEAD + TAIL + len(GAP)
    assert found.chars == 2 * (before // 2) + len(MAIL) + 2 * (after // 2)


@given(st.lists(st.text(max_size=4_000), max_size=60))
def test_memory_is_bounded_and_short_texts_are_whole(pieces: list[str]) -> None:
    found = heard(*pieces)
    held = sum(map(len, found._head)) + sum(map(len, found._tail))
    assert held <= 3 * HEARD
    assert found.chars == sum(map(len, pieces))
    if found.chars <= HEARD:
        assert "".join(found._head) + "".join(found._tail) == "".join(pieces)


def test_a_stream_of_a_million_tokens_holds_a_few_thousand_characters() -> None:
    found = heard()
    for _ in range(200_000):
        found.add("word ")
    assert sum(map(len, found._head)) + sum(map(len, found._tail)) <= 3 * HEARD
    assert len(found.summary(NONE)) <= HEAD + TAIL + len(GAP)


def test_one_enormous_piece_is_not_held() -> None:
    found = heard("a" * 3_000_000)
    assert sum(map(len, found._head)) + sum(map(len, found._tail)) <= 2 * HEARD


def test_the_full_text_is_bounded_and_says_that_it_was_cut() -> None:
    short, long = heard("a" * 100, keeps_all=True), heard(*["b" * 1000] * 300, keeps_all=True)
    assert (short.whole(NONE), short.is_cut) == ("a" * 100, False)
    assert long.is_cut
    assert len(long.whole(NONE)) == FULL_CHARS - MARGIN


def test_control_without_the_margin_half_an_address_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "x" * (HEARD - 10) + MAIL + "y" * HEARD
    assert "someone" not in heard(text).summary(NONE)
    monkeypatch.setattr("inference.call_logs.summaries.MARGIN", 0)
    monkeypatch.setattr("inference.call_logs.summaries.HEAD", HEARD)
    assert "someone" in heard(text).summary(NONE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key atr-abcdefgh-" + "A" * 49, "key [API_KEY]"),
        ("Authorization: Bearer abcdef123456.xyz", "Authorization: [API_KEY]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- ok", "[PRIVATE_KEY] ok"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "[PRIVATE_KEY]"),
        ("我的邮箱是 zhang.san@example.cn。", "我的邮箱是 [EMAIL]。"),
        ("call 13812345678 now", "call [PHONE] now"),
        ("id 11010519491231002X!", "id [CN_ID]!"),
        ("card 4111 1111 1111 1111", "card [CARD]"),
        ("host 192.168.1.20", "host [IP]"),
        ("DE89 3704 0044 0532 0130 00", "[IBAN]"),
        ("in 2026 there were 12 of 345", "in 2026 there were 12 of 345"),
    ],
)
def test_what_is_masked(text: str, shown: str) -> None:
    assert redaction.redact(text) == shown
    assert redaction._own(text, NONE) == shown  # by the rules of logs alone, too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mail someone (at) example.com", "mail [EMAIL]"),
        ("call 138\u200b1234\u200b5678 now", "call [PHONE] now"),
    ],
)
def test_logs_use_the_recognisers_of_personal_data(text: str, shown: str) -> None:
    """What is written so that plain patterns miss it."""
    assert redaction._own(text, NONE) != shown
    assert redaction.redact(text) == shown


@pytest.mark.parametrize("kind", ["EMAIL", "EMAIL_ADDRESS"])
def test_a_kind_is_kept_by_either_of_its_names(kind: str) -> None:
    assert redaction.redact(f"{MAIL} 192.168.1.20", frozenset({kind})) == f"{MAIL} [IP]"
    assert kind in redaction.KINDS


def test_entities_can_be_kept_but_credentials_never() -> None:
    text = f"{MAIL} atr-abcdefgh-{'A' * 49}"
    assert redaction.redact(text, frozenset({"EMAIL", "API_KEY"})) == f"{MAIL} [API_KEY]"


def test_a_redactor_that_fails_withholds_the_text() -> None:
    def fails(text: str, kept: frozenset[str]) -> str:
        raise RuntimeError(text)

    redaction.use(fails)
    assert redaction.redact("anything") == redaction.WITHHELD
    assert "anything" not in heard("anything").summary(NONE)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            "chat",
            {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
            "system: Be kind.\nuser: Hi",
        ),
        (
            "chat",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url"}]},
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "find", "arguments": '{"a":1}'}}],
                    },
                ]
            },
            'user: Look[image_url]\nassistant: [find] {"a":1}',
        ),
        ("completion", {"prompt": "Once"}, "Once"),
        ("completion", {"prompt": [1, 2, 3]}, "[3 tokens]"),
        ("embedding", {"input": ["a", "b"]}, "a\nb\n"),
        ("chat", {"messages": "nonsense"}, ""),
        ("chat", {"messages": [7, {"role": 3, "content": {"x": 1}}]}, "?: "),
    ],
)
def test_what_a_body_says(kind: str, body: dict[str, Any], said: str) -> None:
    assert prompt_heard(kind, body, keeps_all=False).summary(NONE) == said


def test_parameters_hold_no_text() -> None:
    canary = "canary " * 20
    body = {
        "model": "m",
        "temperature": 0.5,
        "stream": True,
        "messages": [{"role": "user", "content": canary}],
        "tools": [{"function": {"name": canary, "description": canary}}],
        "stop": [canary],
        "logit_bias": {canary: 1},
        "response_format": {"type": "json_schema", "json_schema": {"name": canary}},
        "user": canary,
        "encoding_format": canary,
    }
    found = parameters_of(body)
    assert "canary" not in str(found)
    assert found == {
        "temperature": 0.5,
        "stream": True,
        "messages": 1,
        "tools": 1,
        "stop": 1,
        "response_format": "json_schema",
    }


def test_an_answer_that_came_whole_is_heard() -> None:
    found = heard()
    payload = (
        b'{"choices": [{"message": {"content": "Yes", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},'
        b' "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}'
    )
    assert hear_answer(found, payload) == ("tool_calls", 7, 3)
    assert found.summary(NONE) == "Yes[f] {}"
    assert hear_answer(heard(), b"not json") == ("", 0, 0)
