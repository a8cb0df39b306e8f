"""A resumed stream adds exactly what is new, however either replica cut its chunks (law L3)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from inference.gateway.delivered import Delivered

TEXT = st.text(alphabet="ab 中é😀\n", max_size=24)


def chunk(index: int, delta: dict[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "delta": delta or {},
        "logprobs": None,
        "finish_reason": None,
        **extra,
    }
    return {
        "id": "chatcmpl-x",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "choices": [choice],
    }


def cut(text: str, points: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(point % (len(text) + 1) for point in points)})
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def stream_of(contents: list[str], tool: str, points: list[int], created: int) -> list[bytes]:
    """Role chunks, content per choice, one tool call on choice 0, finish chunks, usage."""
    chunks = [chunk(i, {"role": "assistant", "content": ""}) for i in range(len(contents))]
    for index, content in enumerate(contents):
        for piece in cut(content, points):
            logprobs = {"content": [{"token": letter} for letter in piece]}
            chunks.append(chunk(index, {"content": piece}, logprobs=logprobs))
    if tool:
        head = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
        chunks.append(chunk(0, {"tool_calls": [head]}))
        for piece in cut(tool, points):
            chunks.append(chunk(0, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    chunks += [chunk(i, {}, finish_reason="stop") for i in range(len(contents))]
    chunks.append({"id": "chatcmpl-x", "created": 5, "choices": [], "usage": {"total_tokens": 3}})
    return [json.dumps({**c, "created": created}, ensure_ascii=False).encode() for c in chunks]


def seen_by_client(payloads: list[bytes]) -> dict[str, Any]:
    """What a client that adds up all chunks ends with, and how often each one-time thing came."""
    result: dict[str, Any] = {"usage": 0}
    for payload in payloads:
        body = json.loads(payload)
        result.setdefault("created", set()).add(body["created"])
        if not body["choices"]:
            result["usage"] += 1
        for choice in body["choices"]:
            mine = result.setdefault(
                choice["index"], {"text": "", "tokens": "", "args": "", "roles": 0, "calls": 0, "ends": 0}
            )
            delta = choice["delta"]
            mine["text"] += delta.get("content") or ""
            mine["roles"] += "role" in delta
            mine["tokens"] += "".join(e["token"] for e in (choice["logprobs"] or {}).get("content", []))
            for call in delta.get("tool_calls", []):
                mine["args"] += call["function"].get("arguments") or ""
                mine["calls"] += "name" in call["function"]
            mine["ends"] += choice["finish_reason"] is not None
    return result


@given(
    contents=st.lists(TEXT, min_size=1, max_size=3),
    tool=TEXT,
    cuts=st.lists(st.lists(st.integers(0, 50), max_size=6), min_size=3, max_size=3),
    losses=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_two_lost_replicas_leave_one_whole_stream(
    contents: list[str], tool: str, cuts: list[list[int]], losses: tuple[int, int]
) -> None:
    whole = seen_by_client(stream_of(contents, tool, [], created=1))
    delivered = Delivered()
    got: list[bytes] = []
    first = stream_of(contents, tool, cuts[0], created=1)
    for payload in first[: losses[0] % (len(first) + 1)]:
        delivered.note(payload)
        got.append(payload)
    second = stream_of(contents, tool, cuts[1], created=2)
    delivered.begin_again()
    got += [p for p in map(delivered.trim, second[: losses[1] % (len(second) + 1)]) if p is not None]
    delivered.begin_again()
    got += [p for p in map(delivered.trim, stream_of(contents, tool, cuts[2], created=3)) if p is not None]

    ended = seen_by_client(got)
    assert len(ended.pop("created")) == 1
    whole.pop("created")
    assert ended == whole


def test_without_trimming_text_would_come_twice() -> None:
    """The mutant: what the guard is for."""
    payloads = stream_of(["hello"], "", [], created=1)
    assert seen_by_client(payloads + payloads)[0]["text"] == "hellohello"


@given(text=TEXT, points=st.lists(st.integers(0, 40), max_size=5), kept=st.integers(0, 30))
def test_completions_are_trimmed_by_text(text: str, points: list[int], kept: int) -> None:
    def payloads(at: list[int]) -> list[bytes]:
        return [
            msgspec.json.encode(
                {"created": 1, "choices": [{"index": 0, "text": piece, "finish_reason": None}]}
            )
            for piece in cut(text, at)
        ]

    delivered = Delivered()
    first = payloads(points)[:kept]
    for payload in first:
        delivered.note(payload)
    delivered.begin_again()
    rest = [p for p in map(delivered.trim, payloads([])) if p is not None]
    assert "".join(json.loads(p)["choices"][0]["text"] for p in first + rest) == text


def test_anything_is_false_until_a_chunk_was_sent() -> None:
    delivered = Delivered()
    assert not delivered.anything
    delivered.note(stream_of(["x"], "", [], created=1)[0])
    assert delivered.anything
