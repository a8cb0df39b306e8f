"""A chat request's messages and tools as vLLM hands them to the chat template (vllm.renderers.chat_utils, 0.32)."""

from __future__ import annotations

import json
from typing import Any

from inference.tokens.template import ContentFormat

# vLLM takes this line of one client out of system messages, for its prefix cache.
_DROPPED_LINE = "x-anthropic-billing-header"
_PART_FIELDS = frozenset({"type", "text", "refusal"})
_CALL_FIELDS = frozenset({"id", "type", "function"})
_FUNCTION_FIELDS = frozenset({"name", "arguments"})
# Fields of a tool's function in the order in which vLLM writes them; the last two only when given.
_TOOL_FIELDS = ("name", "description", "parameters")
_RARE_TOOL_FIELDS = ("strict", "defer_loading")


class Unsure(Exception):
    """The request has something that vLLM might hand on in another form than is known here."""


def conversation(messages: list[dict[str, Any]], form: ContentFormat) -> list[dict[str, Any]]:
    """The messages as the template sees them. Raises Unsure."""
    return [_message(message, form) for message in messages]


def tools(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The tools as the template sees them."""
    given = body.get("tools")
    return None if given is None else [_tool(tool) for tool in given]


def variables(body: dict[str, Any]) -> dict[str, Any]:
    """What else the template is given. `reasoning_effort` switches thinking unless the client did itself."""
    found = dict(body.get("chat_template_kwargs") or {})
    effort = body.get("reasoning_effort")
    if effort is not None:
        found.setdefault("enable_thinking", effort != "none")
        found["reasoning_effort"] = effort
    return found


def _message(message: dict[str, Any], form: ContentFormat) -> dict[str, Any]:
    role = message["role"]
    texts = _texts(message.get("content"))
    if role == "system":
        texts = list(_without_dropped_line(texts))
    made: dict[str, Any] = {"role": role}
    if form == "openai" and role != "tool":
        made["content"] = [{"type": "text", "text": text} for text in texts]
    else:
        made["content"] = "\n".join(texts)
    if role == "assistant":
        if (calls := message.get("tool_calls")) is not None and calls:
            made["tool_calls"] = [_call(call) for call in calls]
        reasoning = message.get("reasoning")
        if reasoning is None:
            reasoning = message.get("reasoning_content")
        if reasoning is not None:
            made["reasoning"] = made["reasoning_content"] = reasoning
    elif role == "tool" and "tool_call_id" in message:
        made["tool_call_id"] = message["tool_call_id"]
    if isinstance(message.get("name"), str):
        made["name"] = message["name"]
    if role == "developer":
        made["tools"] = None
    return made


def _texts(content: Any) -> list[str]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    texts = []
    for part in content:
        if set(part) - _PART_FIELDS:
            raise Unsure
        texts.append(part[part["type"]])
    return texts


def _without_dropped_line(texts: list[str]) -> list[str]:
    kept = []
    for text in texts:
        if text.startswith(_DROPPED_LINE):
            text = text.partition("\n")[2]
            if not text:
                continue
        kept.append(text)
    return kept


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call; its arguments as an object, and an empty one where they are no JSON object."""
    function = call.get("function")
    if set(call) - _CALL_FIELDS or not isinstance(function, dict) or set(function) - _FUNCTION_FIELDS:
        raise Unsure
    arguments: Any = {}
    if function.get("arguments"):
        try:
            arguments = json.loads(function["arguments"])
        except ValueError:
            arguments = {}
        if not isinstance(arguments, dict):
            arguments = {}
    return {**call, "function": {**function, "arguments": arguments}}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    made = {name: function.get(name) for name in _TOOL_FIELDS}
    made |= {name: function[name] for name in _RARE_TOOL_FIELDS if function.get(name) is not None}
    found = {"type": "function", "function": made}
    if tool.get("defer_loading") is not None:
        raise Unsure
    return found
