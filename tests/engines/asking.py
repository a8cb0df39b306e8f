"""How the tests ask an engine, and what they make of its answers."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from inference.worker.port import Chunk, Engine, EngineRequest, Failure, Kind, Result

PUBLIC_NAME = "public/name"
_numbers = itertools.count()


def ask(kind: Kind, forced: list[list[int]] | None = None, **body: Any) -> EngineRequest:
    """A request as the gateway admits one: greedy, with the public name."""
    number = next(_numbers)
    if kind != "embedding":
        body = {"temperature": 0, "max_tokens": 24, **body}
    return EngineRequest(
        id=f"req-{number}",
        kind=kind,
        body={"model": PUBLIC_NAME, **body},
        salt="salt-of-acme",
        forced=forced or [],
    )


def chat(text: str, **body: Any) -> EngineRequest:
    """One turn of a chat."""
    return ask("chat", messages=[{"role": "user", "content": text}], **body)


@dataclass
class Answer:
    """What came of a request."""

    request: EngineRequest
    chunks: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[int, list[int]] = field(default_factory=dict)
    whole: dict[str, Any] | None = None
    failure: Failure | None = None

    @property
    def choices(self) -> list[dict[str, Any]]:
        """Every choice of every chunk, in order of arrival."""
        return [choice for chunk in self.chunks for choice in chunk["choices"]]

    @property
    def texts(self) -> dict[int, str]:
        """The text of each choice."""
        texts: dict[int, str] = {}
        if self.whole is not None:
            for choice in self.whole["choices"]:
                texts[choice["index"]] = (
                    choice["message"]["content"] if "message" in choice else choice["text"]
                )
            return texts
        for choice in self.choices:
            part = choice["delta"].get("content") if "delta" in choice else choice["text"]
            texts[choice["index"]] = texts.get(choice["index"], "") + (part or "")
        return texts

    @property
    def reasons(self) -> dict[int, str]:
        """Why each choice ended."""
        choices = self.whole["choices"] if self.whole is not None else self.choices
        return {choice["index"]: choice["finish_reason"] for choice in choices if choice["finish_reason"]}

    @property
    def usage(self) -> dict[str, int]:
        """The counts that the client is told; nothing but the counts."""
        if self.whole is not None:
            usage = self.whole["usage"]
        else:
            usage = next(chunk["usage"] for chunk in self.chunks if chunk.get("usage"))
        return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


async def answer(engine: Engine, request: EngineRequest) -> Answer:
    """Run the request to its end."""
    got = Answer(request)
    async with asyncio.timeout(120), aclosing(engine.run(request)) as events:  # type: ignore[type-var]
        async for event in events:
            assert got.failure is None, "nothing may follow a failure"
            assert got.whole is None, "nothing may follow the whole answer"
            if isinstance(event, Chunk):
                assert request.stream
                for index, tokens in event.tokens:
                    got.tokens.setdefault(index, []).extend(tokens)
                if event.payload:
                    got.chunks.append(msgspec.json.decode(event.payload))
            elif isinstance(event, Result):
                assert not request.stream
                got.whole = msgspec.json.decode(event.payload)
            else:
                got.failure = event
    return got


def error_of(failure: Failure | None) -> dict[str, Any]:
    """The error object of a failure, checked for the form that clients rely on."""
    assert failure is not None
    assert 400 <= failure.status <= 599
    body = msgspec.json.decode(failure.payload)
    error: dict[str, Any] = body["error"]
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["type"]
    assert {"param", "code"} <= error.keys()
    return error


def check_framing(got: Answer) -> None:
    """What every stream keeps: names, order, one end per choice, usage last and only where asked for."""
    chat_kind = got.request.kind == "chat"
    assert got.failure is None
    assert got.chunks
    ids, created = {chunk["id"] for chunk in got.chunks}, {chunk["created"] for chunk in got.chunks}
    assert len(ids) == len(created) == 1
    assert ids.pop().startswith("chatcmpl-" if chat_kind else "cmpl-")
    expected = "chat.completion.chunk" if chat_kind else "text_completion"
    assert {chunk["object"] for chunk in got.chunks} == {expected}
    assert {chunk["model"] for chunk in got.chunks} == {PUBLIC_NAME}
    ended: set[int] = set()
    opened: set[int] = set()
    for choice in got.choices:
        index = choice["index"]
        assert index not in ended, "nothing may follow the end of a choice"
        if chat_kind:
            assert (choice["delta"].get("role") == "assistant") == (index not in opened), (
                "the role comes first"
            )
        opened.add(index)
        if choice["finish_reason"]:
            ended.add(index)
    assert opened == ended, "every choice has an end"
    asked = (got.request.body.get("stream_options") or {}).get("include_usage")
    with_usage = [number for number, chunk in enumerate(got.chunks) if chunk.get("usage")]
    assert with_usage == ([len(got.chunks) - 1] if asked else [])
    if asked:
        assert got.chunks[-1]["choices"] == []
