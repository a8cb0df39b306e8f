"""What a request says, before it goes to a model: every text of it passes its tenant's guard, wherever it stands.

All strings of a body are looked at, keys of JSON schemas too, other than what is plainly no text (NOT_TEXT): so a new
parameter is checked until somebody says that it need not be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from safety import canary
from safety.compiled import Checked
from safety.guarded import Guarded
from safety.spec import Direction, Verdict
from safety.spotlight import new_marker, spotlight

# Parameters whose words no model reads.
NOT_TEXT = frozenset(
    {
        "model",
        "stop",
        "bad_words",
        "user",
        "metadata",
        "logit_bias",
        "reasoning_effort",
        "encoding_format",
        "modalities",
    }
)
# Words of the protocol, wherever they stand.
_PROTOCOL = frozenset({"role", "type"})
# Words of JSON Schema and of the protocol: keys that say nothing. All other keys are somebody's own.
_KEYWORDS = frozenset(
    {
        *(
            "role",
            "type",
            "content",
            "text",
            "refusal",
            "name",
            "reasoning",
            "reasoning_content",
            "tool_calls",
        ),
        *(
            "tool_call_id",
            "id",
            "index",
            "function",
            "arguments",
            "description",
            "parameters",
            "strict",
            "schema",
        ),
        *(
            "json_schema",
            "json",
            "json_object",
            "choice",
            "regex",
            "grammar",
            "properties",
            "required",
            "items",
        ),
        *(
            "enum",
            "const",
            "anyOf",
            "allOf",
            "oneOf",
            "not",
            "$ref",
            "$defs",
            "definitions",
            "default",
            "title",
        ),
        *("additionalProperties", "minimum", "maximum", "minLength", "maxLength", "pattern", "format"),
        *("minItems", "maxItems", "uniqueItems", "examples", "enable_thinking", "thinking"),
    }
)
# Those whose people write them for the model, not to it: nobody injects anything into their own prompt.
_AUTHORS = frozenset({"system", "developer"})
_FROM_TOOLS = frozenset({"tool", "function"})
_TOKEN_IN_TEXT = re.compile(rf"{canary.PREFIX}(?:-[{canary.ALPHABET}]{{{canary.GROUP}}}){{4}}")
# Up to so many characters are looked at on the event loop: some milliseconds.
ON_LOOP_CHARACTERS = 2_000

Detokenize = Callable[[list[int]], str]


class Screened(NamedTuple):
    """What became of a request."""

    body: dict[str, Any]
    verdicts: list[Verdict]
    refused: Verdict | None
    refused_text: str  # the text that was refused, for a person who reviews it
    canaries: tuple[str, ...]  # tokens that stand in its system prompts


class Unreadable(Exception):
    """A prompt of token ids whose text nobody here can know. `param` names it."""

    def __init__(self, param: str) -> None:
        super().__init__(param)
        self.param = param


def size_of(value: Any) -> int:
    """About how many characters there are to look at."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, list):
        return 4 * len(value) if value and isinstance(value[0], int) else sum(map(size_of, value))
    return 0


def screen(guarded: Guarded, body: dict[str, Any], *, detokenize: Detokenize | None) -> Screened:
    """Check all texts of a request that `parameters.checked` has let through.

    `detokenize` gives the text of token ids; without it prompts of ids raise Unreadable. Raises CheckerFailed.
    Costs what `Guard.check` costs, and some microseconds for each string.
    """
    screening = _Screening(guarded, detokenize)
    made = {name: value if name in NOT_TEXT else screening.value(value, name) for name, value in body.items()}
    canaries: tuple[str, ...] = ()
    if screening.refused is None and isinstance(made.get("messages"), list):
        made["messages"], canaries = _prepared(guarded, made["messages"])
    return Screened(made, screening.verdicts, screening.refused, screening.refused_text, canaries)


class _Screening:
    """One request."""

    def __init__(self, guarded: Guarded, detokenize: Detokenize | None) -> None:
        self._guarded = guarded
        self._detokenize = detokenize
        self.verdicts: list[Verdict] = []
        self.refused: Verdict | None = None
        self.refused_text = ""

    def value(self, value: Any, part: str, *, scored: bool = True, untrusted: bool = False) -> Any:
        if self.refused is not None:
            return value
        if isinstance(value, str):
            return self._text(value, part, scored=scored, untrusted=untrusted)
        if isinstance(value, dict):
            return self._mapping(value, part, scored=scored, untrusted=untrusted)
        if isinstance(value, list):
            if value and isinstance(value[0], int) and not isinstance(value[0], bool):
                return self._ids(value, part) if part.partition("[")[0] in ("prompt", "input") else value
            made = [
                self.value(item, f"{part}[{index}]", scored=scored, untrusted=untrusted)
                for index, item in enumerate(value)
            ]
            if part.endswith(".content"):
                return self._parts(made, part, scored=scored, untrusted=untrusted)
            return made
        return value

    def _mapping(self, value: dict[str, Any], part: str, *, scored: bool, untrusted: bool) -> dict[str, Any]:
        role = value.get("role")
        if isinstance(role, str) and part.startswith("messages["):
            scored, untrusted = role not in _AUTHORS, role in _FROM_TOOLS
        elif part.startswith(("tools[", "response_format", "structured_outputs")):
            scored = False
        made = {}
        for name, item in value.items():
            place = f"{part}.{name}"
            if name in _PROTOCOL:
                made[name] = item
            elif name == "arguments" and isinstance(item, str):
                made[name] = self._arguments(item, place)
            else:
                key = name if name in _KEYWORDS else self._text(name, place, scored=False)
                made[key] = self.value(item, place, scored=scored, untrusted=untrusted)
        return made

    def _text(self, text: str, part: str, *, scored: bool = True, untrusted: bool = False) -> str:
        if not text or self.refused is not None:
            return text
        return self._noted(
            self._guarded.check(text, Direction.IN, untrusted=untrusted, scored=scored), text, part
        )

    def _noted(self, checked: Checked, text: str, part: str) -> str:
        self.verdicts.extend(msgspec.structs.replace(verdict, part=part) for verdict in checked.verdicts)
        if checked.refused is not None:
            self.refused = msgspec.structs.replace(checked.refused, part=part)
            self.refused_text = text
        return checked.text

    def _arguments(self, text: str, part: str) -> str:
        """A call's arguments are JSON, in which a letter can be written in many ways: its strings are looked at."""
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return self._text(text, part, scored=False)
        made = self.value(value, part, scored=False)
        return text if made == value else msgspec.json.encode(made).decode()

    def _parts(self, made: list[Any], part: str, *, scored: bool, untrusted: bool) -> list[Any]:
        """Texts that a template puts one behind the other: what only both together say is found as well."""
        texts = [
            item["text"] for item in made if isinstance(item, dict) and isinstance(item.get("text"), str)
        ]
        if len(texts) < 2 or self.refused is not None:
            return made
        for between in ("", "\n"):
            whole = between.join(texts)
            checked = self._guarded.check(whole, Direction.IN, scored=scored, untrusted=untrusted)
            if checked.refused is None and checked.text == whole:
                continue
            masked = self._noted(checked, whole, part)
            if self.refused is None:
                return [{"type": "text", "text": masked}]
            return made
        return made

    def _ids(self, ids: list[int], part: str) -> Any:
        if self._detokenize is None:
            raise Unreadable(part)
        text = self._detokenize(ids)
        made = self._text(text, part)
        return ids if made == text else made


def _prepared(guarded: Guarded, messages: list[Any]) -> tuple[list[Any], tuple[str, ...]]:
    """Plant the canary and mark what nobody typed, where the tenant wants it; and the canaries that are there."""
    if guarded.spotlights:
        messages = _spotlit(messages)
    if guarded.plants_canaries:
        messages = _planted(guarded, messages)
    found = [
        token
        for message in messages
        if message.get("role") in _AUTHORS
        for text in _texts_of(message)
        for token in _TOKEN_IN_TEXT.findall(text)
    ]
    return messages, tuple(dict.fromkeys(found))


def _texts_of(message: dict[str, Any]) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _said_by_author(messages: list[Any]) -> str:
    return "\n".join(
        text for message in messages if message.get("role") in _AUTHORS for text in _texts_of(message)
    )


def _planted(guarded: Guarded, messages: list[Any]) -> list[Any]:
    """The first system prompt, with the token that belongs to it: the same each time, so that caches still serve."""
    prompt = _said_by_author(messages)
    if not prompt:
        return messages
    token = canary.make(str(guarded.tenant_id), prompt)
    language = "zh" if re.search("[\u4e00-\u9fff]", prompt) else "en"
    return _told(messages, canary.plant("", token, language))


def _spotlit(messages: list[Any]) -> list[Any]:
    """Results of tools between delimiters, and the system prompt told so."""
    marker, instruction = new_marker(), ""
    prompt = _said_by_author(messages)
    made = []
    for message in messages:
        texts = _texts_of(message) if message.get("role") in _FROM_TOOLS else []
        if texts:
            spotlit = spotlight("\n".join(texts), marker=marker, prompt=prompt)
            instruction = spotlit.instruction
            message = {**message, "content": spotlit.text}
        made.append(message)
    return _told(made, instruction) if instruction else messages


def _told(messages: list[Any], sentence: str) -> list[Any]:
    """The messages with a sentence at the end of the first system prompt, or before all where there is none."""
    for index, message in enumerate(messages):
        if message.get("role") in _AUTHORS:
            content = message.get("content")
            told: Any = (
                [*content, {"type": "text", "text": sentence}]
                if isinstance(content, list)
                else f"{content or ''}\n\n{sentence}".lstrip()
            )
            return [*messages[:index], {**message, "content": told}, *messages[index + 1 :]]
    return [{"role": "system", "content": sentence}, *messages]
