"""Everything that the official client does, with each tenant's key, on real vLLM, over both paths."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import openai
import pytest

from tests.stack.platform_process import Platform

pytestmark = [pytest.mark.engine, pytest.mark.stack]

CHAT = "atrium-starter"
EMBED = "minilm-embed"
QUESTION = [{"role": "user", "content": "What is Atrium?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 40}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


ALL = [("acme", ""), ("acme", "/t/acme"), ("globex", ""), ("globex", "/t/globex")]


@pytest.fixture
def client(request: pytest.FixtureRequest, platform: Platform) -> openai.OpenAI:
    """Each tenant's client, one over the common path and one over the tenant's own; those of `everyone` where asked."""
    slug, path = request.param
    return platform.client(slug, path=path, max_retries=0, timeout=60)


everyone = pytest.mark.parametrize("client", ALL, indirect=True)
each_tenant = pytest.mark.parametrize("client", [ALL[0], ALL[3]], indirect=True)


@everyone
def test_it_lists_models(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {CHAT, EMBED} <= names
    assert client.models.retrieve(CHAT).id == CHAT
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"


@everyone
def test_it_chats(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION, temperature=0)
    answer = raw.parse()
    assert "Atrium" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == CHAT
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-request-id"].startswith("req_")
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert answer.id == f"chatcmpl-{raw.headers['x-request-id']}"


@everyone
def test_a_stream_says_the_same_as_one_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=CHAT, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage or (
        chunks[-1].usage is not None
        and whole.usage is not None
        and chunks[-1].usage.total_tokens == whole.usage.total_tokens
    )
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


@each_tenant
def test_it_speaks_chinese(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "什么是租户？"}], temperature=0
    )
    assert "租户" in (answer.choices[0].message.content or "")


@each_tenant
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_it_calls_tools(client: openai.OpenAI, choice: Any, stream: bool) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice=choice,
        temperature=0,
        max_tokens=200,
        stream=stream,
    )
    if stream:
        name = arguments = ""
        for chunk in answer:
            for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    else:
        call = answer.choices[0].message.tool_calls[0]
        name, arguments = call.function.name, call.function.arguments
    assert name == "get_weather"
    assert isinstance(json.loads(arguments)["city"], str)


@each_tenant
def test_a_call_that_is_insisted_on_keeps_to_the_tools_schema(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    answer = client.chat.completions.create(
        model=CHAT,
        messages=QUESTION,
        tools=[{"type": "function", "function": {"name": "add", "parameters": schema}}],
        tool_choice={"type": "function", "function": {"name": "add"}},
        temperature=0,
        max_tokens=100,
    )
    call: Any = (answer.choices[0].message.tool_calls or [])[0]
    assert isinstance(json.loads(call.function.arguments)["a"], int)


@each_tenant
def test_a_refusal_tells_nothing_of_the_machine(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=EMBED, input="x", dimensions=64)
    assert EMBED in caught.value.message
    assert "/" not in caught.value.message


@each_tenant
def test_it_answers_in_a_json_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "answer": {"type": "string", "maxLength": 60},
            "score": {"type": "integer", "minimum": 0, "maximum": 9},
            "kind": {"enum": ["model", "tenant"]},
        },
        "required": ["answer", "score", "kind"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=CHAT,
        messages=QUESTION,
        temperature=0,
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert set(found) == {"answer", "score", "kind"}
    assert found["kind"] in ("model", "tenant")


@each_tenant
def test_it_gives_choices_logprobs_and_stops(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=QUESTION,
        n=2,
        temperature=0.7,
        seed=3,
        logprobs=True,
        top_logprobs=2,
        max_tokens=8,
        stop=["zzz"],
        presence_penalty=0.1,
        frequency_penalty=0.1,
        logit_bias={"5": -100},
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert len(choice.logprobs.content[0].top_logprobs) == 2
        assert choice.finish_reason == "length"


@everyone
def test_it_completes_text(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=CHAT, prompt="Atrium is", max_tokens=12, temperature=0)
    chunks = client.completions.create(
        model=CHAT, prompt="Atrium is", max_tokens=12, temperature=0, stream=True
    )
    assert answer.choices[0].text
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == answer.choices[0].text


@everyone
def test_it_embeds(client: openai.OpenAI) -> None:
    texts = ["a cat sits", "a kitten is sitting", "quarterly tax report"]
    answer = client.embeddings.create(model=EMBED, input=texts, encoding_format="float")
    cat, kitten, tax = (item.embedding for item in answer.data)

    def likeness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert likeness(cat, kitten) > likeness(cat, tax) + 0.2
    packed = client.embeddings.with_raw_response.create(model=EMBED, input=texts[0], encoding_format="base64")
    raw = base64.b64decode(json.loads(packed.text)["data"][0]["embedding"])
    assert struct.unpack(f"<{len(cat)}f", raw)[:3] == pytest.approx(cat[:3], abs=1e-3)


@each_tenant
def test_a_prompt_that_is_too_long_is_refused_by_the_engines_own_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "word " * 4_000}])
    assert caught.value.code == "context_length_exceeded"
    assert "maximum context length" in caught.value.message


@each_tenant
def test_chat_is_not_what_an_embedding_model_does(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=EMBED, messages=QUESTION)
    assert caught.value.code == "model_not_supported"


def test_another_tenants_path_refuses_the_key_as_if_it_did_not_exist(platform: Platform) -> None:
    with pytest.raises(openai.AuthenticationError) as foreign:
        platform.client("acme", path="/t/globex", max_retries=0).models.list()
    with pytest.raises(openai.AuthenticationError) as absent:
        platform.client("acme", path="/t/no-such-tenant", max_retries=0).models.list()
    assert foreign.value.body == absent.value.body
    assert foreign.value.code == "invalid_api_key"
