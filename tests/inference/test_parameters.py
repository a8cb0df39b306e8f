"""The allow-list in front of the engines: bounds, types, unknown names, and what the platform sets itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.gateway.errors import Rejected
from inference.openai.parameters import checked

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": MESSAGES}
DEEP: Any = {}
for _ in range(40):
    DEEP = {"type": "object", "properties": {"a": DEEP}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def refusal(kind: str, body: dict[str, Any]) -> Rejected:
    with pytest.raises(Rejected) as caught:
        checked(kind, body)
    return caught.value


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"n": 10**9}, "n"),
        ({"n": True}, "n"),
        ({"temperature": 9}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"stop": ["x"] * 100_000}, "stop"),
        ({"stop": ""}, "stop[0]"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 10**6}, "top_logprobs"),
        ({"logit_bias": {str(i): 1 for i in range(5_000)}}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 1e9}}, "logit_bias.1"),
        ({"bad_words": [""]}, "bad_words[0]"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": DEEP}}},
         "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}},
         "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema",
                              "json_schema": {"name": "x", "schema": {"$ref": "https://e.example/s"}}}},
         "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema",
                              "json_schema": {"name": "x", "schema": {"type": "string", "maxLength": 10**9}}}},
         "response_format.json_schema.schema"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"structured_outputs": {"regex": "(a{9999}){9999}"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": "root ::= root"}}, "structured_outputs"),
        ({"tools": [{"type": "function", "function": {"name": "bad name"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "god", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": MESSAGES * 3_000}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": {}}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": 5, "function": {"name": "f"}}]}]},
         "messages[0].tool_calls[0].id"),
        # Server-side request forgery: vLLM would fetch what a part points to.
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}]}, "messages[0].content[0]"),
        # Reaches Jinja, the engine's workers, or other tenants' caches.
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"chat_template_kwargs": {"x": "y"}}, "chat_template_kwargs"),
        ({"mm_processor_kwargs": {}}, "mm_processor_kwargs"),
        ({"prompt_embeds": "x"}, "prompt_embeds"),
        ({"vllm_xargs": {"atrium_forced": [1]}}, "vllm_xargs"),
        ({"kv_transfer_params": {}}, "kv_transfer_params"),
        ({"request_id": "theirs"}, "request_id"),
        ({"api_base": "http://evil.example"}, "api_base"),
    ],
)  # fmt: skip
def test_it_refuses_by_name(extra: dict[str, Any], param: str) -> None:
    error = refusal("chat", {**CHAT, **extra})
    assert (error.status, error.param) == (400, param)
    assert param.split("[")[0].split(".")[0] in error.message


@pytest.mark.parametrize("kind", ["chat", "completion", "embedding"])
def test_the_model_must_be_named(kind: str) -> None:
    error = refusal(kind, {"messages": MESSAGES, "prompt": "x", "input": "x"})
    assert (error.code, error.param) == ("missing_required_parameter", "model")


def test_what_clients_really_send_passes() -> None:
    body = checked(
        "chat",
        {
            **CHAT, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "top_p": 1, "n": 2,
            "stop": ["\n"], "seed": 7, "logprobs": True, "top_logprobs": 3, "presence_penalty": 0.5,
            "frequency_penalty": -0.5, "logit_bias": {"5": -100}, "tools": [TOOL], "tool_choice": "auto",
            "parallel_tool_calls": False, "user": "u", "metadata": {"a": "b"}, "store": False,
            "service_tier": "auto", "max_completion_tokens": 5, "max_tokens": None, "top_k": 5, "min_p": 0.1,
            "repetition_penalty": 1.1,
        },
    )  # fmt: skip
    assert "metadata" not in body
    assert "service_tier" not in body
    assert "max_tokens" not in body
    assert body["n"] == 2


def test_null_in_a_message_means_not_given_as_clients_send_answers_back() -> None:
    said = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{}"}}], "refusal": None, "audio": None, "annotations": None,
            "function_call": None, "name": None}  # fmt: skip
    body = checked("chat", {**CHAT, "messages": [*MESSAGES, said]})
    assert set(body["messages"][1]) == {"role", "content", "tool_calls"}


def test_scoring_a_prompt_generates_nothing() -> None:
    asked = {"model": "m", "prompt": "x", "max_tokens": 0, "logprobs": 1}
    assert checked("completion", {**asked, "echo": True})["max_tokens"] == 0
    assert refusal("completion", asked).param == "max_tokens"
    assert refusal("chat", {**CHAT, "max_tokens": 0}).param == "max_tokens"


def test_priority_and_cache_salt_are_the_platforms_to_set() -> None:
    body = checked("chat", {**CHAT, "priority": -100, "cache_salt": "another tenant's"})
    assert "priority" not in body
    assert "cache_salt" not in body


@pytest.mark.parametrize("value", ["text", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_prompts_may_be_texts_or_token_ids(value: Any) -> None:
    assert checked("completion", {"model": "m", "prompt": value})["prompt"] == value


@pytest.mark.parametrize("value", ["", [], [""], [[]], 5, [None], ["a"] * 3_000, [-1]])
def test_embedding_inputs_that_mean_nothing_are_refused(value: Any) -> None:
    assert refusal("embedding", {"model": "m", "input": value}).status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(
    kind=st.sampled_from(["chat", "completion", "embedding"]),
    body=st.dictionaries(
        st.sampled_from(
            ["model", "messages", "prompt", "input", "n", "stop", "tools", "tool_choice", "response_format",
             "logit_bias", "stream_options", "structured_outputs", "min_tokens", "max_tokens", "stream"]
        ),
        JSON,
    ),
)  # fmt: skip
def test_any_json_is_taken_or_refused_but_never_crashes(kind: str, body: dict[str, Any]) -> None:
    try:
        passed = checked(kind, body)
    except Rejected as error:
        assert error.status == 400
        assert error.message
    else:
        assert set(passed) <= set(body)
