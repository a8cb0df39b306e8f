"""How many tokens a prompt has, before it is admitted: never fewer than the engine will count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# What a chat template may add around each message and each tool: control tokens, role, line feeds.
_PER_MESSAGE = 32
_PER_REQUEST = 64


@dataclass(frozen=True, slots=True)
class PromptCount:
    """Tokens of all prompts of a request; `exact` unless it is an upper bound."""

    tokens: int
    exact: bool


async def count(route: Any, kind: str, body: dict[str, Any]) -> PromptCount:
    """An upper bound on the prompt's tokens: a token stands for at least one byte of UTF-8.

    `route` is the model's (`models_registry.selectors.Route`), `kind` chat, completion or embedding.
    """
    if kind == "chat":
        messages = body["messages"]
        size = _bytes_of(messages) + _bytes_of(body.get("tools"))
        return PromptCount(size + _PER_MESSAGE * len(messages) + _PER_REQUEST, exact=False)
    return _of_texts(body["prompt"] if kind == "completion" else body["input"])


def _of_texts(value: Any) -> PromptCount:
    if isinstance(value, list) and value and isinstance(value[0], int):
        return PromptCount(len(value), exact=True)
    parts = [value] if isinstance(value, str) else value
    total, exact = 0, True
    for part in parts:
        if isinstance(part, str):
            total += len(part.encode("utf-8", "surrogatepass")) + _PER_MESSAGE
            exact = False
        else:
            total += len(part)
    return PromptCount(total, exact)


def _bytes_of(value: Any) -> int:
    """Bytes of every string inside a JSON value, with room for what a template writes between them."""
    total = 0
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            total += len(item.encode("utf-8", "surrogatepass"))
        elif isinstance(item, dict):
            todo.extend(item.values())
            total += sum(len(name) + 6 for name in item)
        elif isinstance(item, list):
            total += 2 * len(item)
            todo.extend(item)
        elif item is not None:
            total += 24
    return total
