"""Writing conversations in the text form that ``chat_template.jinja`` gives, with the parts to be learnt marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEMPLATE_PATH = Path(__file__).resolve().parent / "chat_template.jinja"
IM_START, IM_END, END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SPECIAL_TOKENS = (
    END,
    IM_START,
    IM_END,
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
)

#: A piece of text, and whether the model learns to write it.
Piece = tuple[str, bool]
#: One training text: its pieces in order.
Sample = list[Piece]
Message = dict[str, Any]


def dump(value: Any) -> str:
    """JSON as the model writes it: ``{"a": 1, "b": 2}``, characters beyond ASCII kept."""
    return json.dumps(value, ensure_ascii=False)


def type_name(schema: dict[str, Any]) -> str:
    """The short form of a JSON schema type inside a tool signature."""
    if schema.get("enum"):
        return "|".join(str(v) for v in schema["enum"])
    kind = schema.get("type")
    if kind == "array" and isinstance(schema.get("items"), dict):
        item = schema["items"].get("type")
        return f"{item if isinstance(item, str) else 'any'}[]"
    return kind if isinstance(kind, str) else "any"


def signature(tool: dict[str, Any]) -> str:
    """One line that names a tool, its parameters (``?`` = optional) and its purpose."""
    function = tool["function"]
    parameters = function.get("parameters") or {}
    required = parameters.get("required") or []
    inside = ", ".join(
        f"{key}{'' if key in required else '?'}: {type_name(schema)}"
        for key, schema in (parameters.get("properties") or {}).items()
    )
    purpose = f": {function['description']}" if function.get("description") else ""
    return f"{function['name']}({inside}){purpose}"


def call_text(name: str, arguments: dict[str, Any]) -> str:
    """A tool call as the ``hermes`` parser reads it."""
    return f'<tool_call>\n{{"name": {dump(name)}, "arguments": {dump(arguments)}}}\n</tool_call>'


def _head(system: str, tools: list[dict[str, Any]]) -> str:
    """The system part of a prompt: empty without a system text and without tools."""
    if not tools and not system:
        return ""
    text = f"{IM_START}system\n{system}"
    if tools:
        listing = "".join(f"{signature(tool)}\n" for tool in tools)
        text += ("\n" if system else "") + f"<tools>\n{listing}</tools>"
    return f"{text}{IM_END}\n"


def render(messages: list[Message], tools: list[dict[str, Any]] | None = None, given: str = "") -> Sample:
    """The conversation as pieces: the assistant's words are learnt, all else is given.

    ``given`` is the beginning of the last answer that is not learnt: what a grammar would force.
    """
    system = ""
    if messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    sample: Sample = [(_head(system, tools or []), False)]
    for index, message in enumerate(messages):
        content = message["content"]
        if message["role"] == "assistant":
            sample.append((f"{IM_START}assistant\n", False))
            if given and index == len(messages) - 1:
                sample += [(given, False), (content.removeprefix(given), True)]
            else:
                sample.append((content, True))
            sample += [(IM_END, True), ("\n", False)]
        elif message["role"] == "tool":
            sample.append((f"{IM_START}tool\n<tool_response>\n{content}\n</tool_response>{IM_END}\n", False))
        else:
            sample.append((f"{IM_START}{message['role']}\n{content}{IM_END}\n", False))
    return [piece for piece in sample if piece[0]]
