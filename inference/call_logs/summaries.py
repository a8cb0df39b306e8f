"""Summaries of prompts and answers: bounded while they are collected, redacted before they are cut to size.

What is collected is the beginning and the end of a text, each HEARD characters long at most, however long the text
is. Redaction sees these whole; MARGIN characters at a cut are then left out, because half of something that redaction
would have masked may stand there. Nothing personal that is longer than MARGIN is known.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from inference.call_logs.redaction import redact

HEARD = 6_000
MARGIN = 4_000
HEAD, TAIL = 700, 300  # of a summary
FULL_CHARS = 100_000  # of one full text, prompt and answer each; what is longer is cut, and says so
GAP = " … "
_MOST_PARTS = 2_000


class Heard:
    """The beginning and the end of a text that comes in pieces; all of it up to FULL_CHARS where `keeps_all`."""

    __slots__ = ("_all", "_all_chars", "_head", "_head_chars", "_tail", "_tail_chars", "chars", "keeps_all")

    def __init__(self, *, keeps_all: bool = False) -> None:
        self.chars = 0
        self.keeps_all = keeps_all
        self._head: list[str] = []
        self._head_chars = 0
        self._tail: deque[str] = deque()
        self._tail_chars = 0
        self._all: list[str] = []
        self._all_chars = 0

    def add(self, piece: str) -> None:
        """One more piece. Under a microsecond; memory stays bounded."""
        size = len(piece)
        self.chars += size
        if self.keeps_all and self._all_chars < FULL_CHARS:
            self._all.append(piece[: FULL_CHARS - self._all_chars])
            self._all_chars += size
        room = HEARD - self._head_chars
        if room > 0:
            self._head.append(piece[:room])
            self._head_chars += min(size, room)
            if size <= room:
                return
            piece = piece[room:]
        # A slice, so that one enormous piece is not held; then whole pieces go while the rest is enough.
        self._tail.append(piece[-HEARD:])
        self._tail_chars += len(self._tail[-1])
        while self._tail_chars - len(self._tail[0]) >= HEARD:
            self._tail_chars -= len(self._tail.popleft())

    def summary(self, kept: frozenset[str]) -> str:
        """Redacted, at most HEAD + TAIL characters and the gap between them."""
        head, tail = "".join(self._head), "".join(self._tail)
        if self._head_chars + self._tail_chars == self.chars:
            return _cut(redact(head + tail, kept))
        head = redact(head, kept)
        tail = redact(tail, kept)
        return _clean(
            head[: min(HEAD, max(0, len(head) - MARGIN))] + GAP + tail[max(MARGIN, len(tail) - TAIL) :]
        )

    def whole(self, kept: frozenset[str]) -> str:
        """The text itself, redacted, as far as it was kept; at a cut the last MARGIN characters are left out."""
        text = redact("".join(self._all), kept)
        if self.chars > self._all_chars or self._all_chars > FULL_CHARS:
            return _clean(text[: max(0, len(text) - MARGIN)])
        return _clean(text)

    @property
    def is_cut(self) -> bool:
        """Whether the whole is not all."""
        return self.keeps_all and self.chars > FULL_CHARS


def _cut(text: str) -> str:
    if len(text) <= HEAD + TAIL + len(GAP):
        return _clean(text)
    return _clean(text[:HEAD] + GAP + text[-TAIL:])


def _clean(text: str) -> str:
    """What PostgreSQL can hold: neither NUL nor halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def prompt_heard(kind: str, body: dict[str, Any], *, keeps_all: bool) -> Heard:
    """What a request's body says, roles in front. Slices only: a few microseconds however long the texts are."""
    heard = Heard(keeps_all=keeps_all)
    if kind == "chat":
        messages = body.get("messages")
        for message in messages[:_MOST_PARTS] if isinstance(messages, list) else ():
            if isinstance(message, dict):
                _hear_message(heard, message)
    else:
        _hear_value(heard, body.get("prompt" if kind == "completion" else "input"))
    return heard


def _hear_message(heard: Heard, message: dict[str, Any]) -> None:
    role = message.get("role")
    heard.add(f"{'' if not heard.chars else chr(10)}{role if isinstance(role, str) else '?'}: "[:40])
    _hear_value(heard, message.get("content"))
    calls = message.get("tool_calls")
    for call in calls[:64] if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            heard.add(f"[{str(function.get('name'))[:100]}] ")
            _hear_value(heard, function.get("arguments"))


def _hear_value(heard: Heard, value: Any) -> None:
    if isinstance(value, str):
        heard.add(value)
    elif isinstance(value, list):
        if value and isinstance(value[0], int | list):
            heard.add(
                f"[{len(value)} tokens]" if isinstance(value[0], int) else f"[{len(value)} lists of tokens]"
            )
            return
        for part in value[:_MOST_PARTS]:
            if isinstance(part, str):
                heard.add(part + "\n")
            elif isinstance(part, dict):
                text = part.get("text")
                heard.add(text if isinstance(text, str) else f"[{str(part.get('type'))[:40]}]")


# --- What a client may set, without anything that holds text

_NUMBERS_AND_WORDS = (
    *("temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "n", "seed", "stream"),
    *(
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logprobs",
        "top_logprobs",
        "min_tokens",
    ),
    *("parallel_tool_calls", "reasoning_effort", "dimensions", "encoding_format", "echo", "best_of"),
)


def parameters_of(body: dict[str, Any]) -> dict[str, Any]:
    """The request's parameters: numbers, switches and short words by name; of what holds text only how much."""
    found: dict[str, Any] = {}
    for name in _NUMBERS_AND_WORDS:
        value = body.get(name)
        if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 32):
            found[name] = value
    for name in ("messages", "tools", "stop", "input"):
        value = body.get(name)
        if isinstance(value, list):
            found[name] = len(value)
    form = body.get("response_format")
    if isinstance(form, dict) and isinstance(form.get("type"), str):
        found["response_format"] = form["type"][:32]
    choice = body.get("tool_choice")
    if isinstance(choice, str):
        found["tool_choice"] = choice[:32]
    return found


# --- Answers that come whole


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Tool(msgspec.Struct):
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Tool] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def hear_answer(heard: Heard, payload: bytes) -> tuple[str, int, int]:
    """Take in an answer that came whole; returns finish reason, prompt tokens and completion tokens."""
    try:
        answer = _decode(payload)
    except msgspec.DecodeError:
        return "", 0, 0
    for choice in answer.choices[:64]:
        if choice.text:
            heard.add(choice.text)
        if choice.message is not None:
            heard.add(choice.message.content or "")
            for tool in choice.message.tool_calls or ():
                if tool.function is not None:
                    heard.add(f"[{(tool.function.name or '')[:100]}] {tool.function.arguments or ''}")
    usage = answer.usage or _Usage()
    reason = next((choice.finish_reason for choice in answer.choices if choice.finish_reason), "")
    return reason, usage.prompt_tokens, usage.completion_tokens or 0
