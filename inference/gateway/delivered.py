"""What a client has already been sent of a stream, so that a replica that begins again adds only what is new (L3).

A resumed stream is produced from its first token again (see `port.EngineRequest.forced`). Chunk boundaries may then
differ, so positions are kept per choice and per field: characters of text, reasoning and tool arguments, entries of
logprobs. Cost: one typed decode per chunk (about 2 µs); trimming runs on resumed streams only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Tool(msgspec.Struct):
    index: int = 0
    function: _Function | None = None


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Tool] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    created: int = 0


_decode = msgspec.json.Decoder(_Chunk).decode
_TEXTS = ("content", "reasoning", "reasoning_content")


class _Position:
    """How far one choice has come."""

    __slots__ = ("finished", "lengths", "role")

    def __init__(self) -> None:
        self.lengths: dict[str, int] = {}
        self.role = False
        self.finished = False


class Delivered:
    """Positions of one stream. `note` what goes out; after `begin_again`, `trim` what comes in."""

    def __init__(self) -> None:
        self._sent: dict[int, _Position] = {}
        self._seen: dict[int, dict[str, int]] = {}
        self._created = 0
        self._usage_sent = False
        self.hears: Callable[[str], None] | None = None  # told every text that goes out, for the call log
        self.finish_reason = ""

    @property
    def anything(self) -> bool:
        """Whether the client has been sent anything at all."""
        return bool(self._sent)

    def note(self, payload: bytes) -> None:
        """Count a chunk that goes to the client."""
        chunk = _decode(payload)
        self._created = self._created or chunk.created
        if not chunk.choices:
            self._usage_sent = True
        for choice in chunk.choices:
            position = self._sent.get(choice.index)
            if position is None:
                position = self._sent[choice.index] = _Position()
            lengths = position.lengths
            if choice.text:
                lengths["text"] = lengths.get("text", 0) + len(choice.text)
                if self.hears is not None:
                    self.hears(choice.text)
            if choice.delta is not None:
                self._note_delta(choice.delta, position)
                if self.hears is not None:
                    self._tell(choice.delta, self.hears)
            if choice.logprobs:
                for name, entries in choice.logprobs.items():
                    if isinstance(entries, list):
                        lengths["logprobs." + name] = lengths.get("logprobs." + name, 0) + len(entries)
            if choice.finish_reason:
                position.finished = True
                self.finish_reason = choice.finish_reason

    @staticmethod
    def _tell(delta: _Delta, hears: Callable[[str], None]) -> None:
        if delta.content:
            hears(delta.content)
        for tool in delta.tool_calls or ():
            if tool.function is not None:
                if tool.function.name:
                    hears(f"[{tool.function.name}] ")
                if tool.function.arguments:
                    hears(tool.function.arguments)

    @staticmethod
    def _note_delta(delta: _Delta, position: _Position) -> None:
        lengths = position.lengths
        position.role = position.role or delta.role is not None
        if delta.content:
            lengths["content"] = lengths.get("content", 0) + len(delta.content)
        if delta.reasoning:
            lengths["reasoning"] = lengths.get("reasoning", 0) + len(delta.reasoning)
        if delta.reasoning_content:
            lengths["reasoning_content"] = lengths.get("reasoning_content", 0) + len(delta.reasoning_content)
        for tool in delta.tool_calls or ():
            name = f"tool.{tool.index}"
            if tool.function is not None:
                lengths[name] = lengths.get(name, 0) + len(tool.function.arguments or "")

    def begin_again(self) -> None:
        """Another replica produces the stream from its first token."""
        self._seen = {}

    def trim(self, payload: bytes) -> bytes | None:
        """The part of a chunk that the client has not had yet; None when it has had it all. Notes what is left."""
        chunk = msgspec.json.decode(payload)
        if self._created:
            chunk["created"] = self._created  # one stream, one time
        if not chunk.get("choices"):
            if self._usage_sent:
                return None
            self._usage_sent = True
            return msgspec.json.encode(chunk)
        chunk["choices"] = [choice for choice in chunk["choices"] if self._trim_choice(choice)]
        if not chunk["choices"]:
            return None
        trimmed = msgspec.json.encode(chunk)
        self.note(trimmed)
        return trimmed

    def _trim_choice(self, choice: dict[str, Any]) -> bool:
        sent = self._sent.get(choice.get("index", 0)) or _Position()
        seen = self._seen.setdefault(choice.get("index", 0), {})
        if sent.finished:
            return False
        fresh = bool(choice.get("finish_reason"))
        if isinstance(choice.get("text"), str):
            choice["text"] = _rest(choice["text"], "text", seen, sent.lengths)
            fresh = fresh or bool(choice["text"])
        delta = choice.get("delta")
        if isinstance(delta, dict):
            fresh = self._trim_delta(delta, seen, sent) or fresh
        if isinstance(choice.get("logprobs"), dict):
            for name, entries in choice["logprobs"].items():
                if isinstance(entries, list):
                    choice["logprobs"][name] = _rest(entries, "logprobs." + name, seen, sent.lengths)
                    fresh = fresh or bool(choice["logprobs"][name])
        return fresh

    @staticmethod
    def _trim_delta(delta: dict[str, Any], seen: dict[str, int], sent: _Position) -> bool:
        fresh = False
        for name in _TEXTS:
            if isinstance(delta.get(name), str):
                delta[name] = _rest(delta[name], name, seen, sent.lengths)
                fresh = fresh or bool(delta[name])
        if delta.get("tool_calls"):
            kept = []
            for tool in delta["tool_calls"]:
                name = f"tool.{tool.get('index', 0)}"
                began = name in sent.lengths
                function = tool.get("function") or {}
                if isinstance(function.get("arguments"), str):
                    function["arguments"] = _rest(function["arguments"], name, seen, sent.lengths)
                if not began or function.get("arguments"):
                    if began:  # the client has the id and the name of this call
                        tool = {
                            "index": tool.get("index", 0),
                            "function": {"arguments": function["arguments"]},
                        }
                    kept.append(tool)
            delta["tool_calls"] = kept
            if not kept:
                del delta["tool_calls"]
            fresh = fresh or bool(kept)
        if delta.get("role") is not None:
            if sent.role:
                del delta["role"]
            else:
                fresh = True
        return fresh


def _rest(piece: Any, name: str, seen: dict[str, int], sent: dict[str, int]) -> Any:
    """What of `piece` (text or list) lies beyond what was sent."""
    start = seen.get(name, 0)
    seen[name] = start + len(piece)
    return piece[max(0, sent.get(name, 0) - start) :]
