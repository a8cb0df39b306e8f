"""The worst case that is held: never below what an engine can do."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.admission.bounds import bound
from inference.admission.rules import Policy, model_ids
from inference.tokens import PromptCount, count
from tests.inference.admission.harness import Terms, route

CHAT: dict[str, Any] = {"model": "sim", "messages": [{"role": "user", "content": "hi"}]}


def bounds(body: dict[str, Any], prompt: int = 100, exact: bool = True, **changes: Any) -> tuple[int, Any]:
    found, changed = bound(replace(route(), **changes), "chat", {**CHAT, **body}, PromptCount(prompt, exact))
    return found.most_tokens, changed.get("max_completion_tokens", changed.get("max_tokens"))


def test_the_clients_number_counts_and_what_it_left_open_is_written_out() -> None:
    assert bounds({"max_tokens": 20}) == (20, 20)
    assert bounds({"max_completion_tokens": 30, "max_tokens": 20}) == (30, 30)
    assert bounds({}) == (900, 900)  # what the context leaves
    assert bounds({"n": 3, "max_tokens": 20}) == (60, 20)
    assert bounds({"max_tokens": 5_000}) == (900, 5_000)  # vLLM refuses it by itself
    assert bounds({"max_tokens": 5_000}, engine="openai") == (900, 900)


def test_an_upper_bound_on_the_prompt_cuts_no_answer_short() -> None:
    assert bounds({}, prompt=990, exact=False) == (1000, None)
    assert bounds({}, prompt=5_000, exact=False) == (1000, None)


def test_without_a_known_context_something_is_still_held(settings: Any) -> None:
    settings.UNBOUNDED_MAX_TOKENS = 77
    assert bounds({}, context_length=None) == (77, 77)
    assert bounds({"max_tokens": 5_000}, context_length=None) == (5_000, 5_000)


def test_several_prompts_count_each() -> None:
    body = {"model": "sim", "prompt": ["a", "b"], "n": 2, "max_tokens": 10}
    found, _ = bound(route(), "completion", body, PromptCount(2, exact=True))
    assert found.most_tokens == 40


def test_embeddings_write_nothing() -> None:
    found, body = bound(route(), "embedding", {"model": "sim", "input": "a"}, PromptCount(5, exact=True))
    assert (found.prompt_tokens, found.most_tokens, "max_tokens" in body) == (5, 0, False)


@given(
    asked=st.none() | st.integers(1, 10**6),
    prompt=st.integers(0, 10**6),
    context=st.none() | st.integers(1, 10**6),
    choices=st.integers(1, 16),
    exact=st.booleans(),
)
def test_what_is_held_covers_what_the_engine_may_write(
    asked: int | None, prompt: int, context: int | None, choices: int, exact: bool
) -> None:
    body = {"n": choices} | ({"max_tokens": asked} if asked else {})
    most, sent = bounds(body, prompt, exact, context_length=context)
    # What an engine does: at most what is asked for, and never past its context.
    room = 10**12 if context is None else max(0, context - (prompt if exact else 0))
    assert most >= choices * min(sent if sent is not None else 10**12, room)
    assert most > 0


@pytest.mark.parametrize("text", ["", "hello", "你好，世界", "🙂" * 50])
async def test_an_upper_bound_is_one_for_every_byte(text: str) -> None:
    elsewhere = dataclasses.replace(route(), engine="openai")  # nobody knows its tokenizer
    found = await count(elsewhere, "chat", {"messages": [{"role": "user", "content": text}]})
    assert found.tokens >= len(text.encode())
    assert not found.exact
    ids = await count(elsewhere, "completion", {"prompt": [1, 2, 3]})
    assert ids.tokens == 3


def test_an_alias_is_neither_cheaper_nor_a_way_around_a_limit() -> None:
    big, small = uuid4(), uuid4()
    alias = replace(route(big, "small"), model_name="big")  # a tenant's alias, named like a cheap model
    prices = {"big": "dear", "small": "cheap", "*": "other"}
    policy = Policy(terms=Terms(prices=prices))
    assert policy.price(alias) == "dear"
    assert policy.price(replace(route(small, "other"), model_name="none")) == "other"
    named = model_ids({"small": alias, "big": route(big, "big")})
    assert named == {"small": big, "big": big}
