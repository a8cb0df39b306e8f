"""Bounds for prompts whose tokenizer is unknown, and the count of the simulated engine.

Why bytes bound tokens. A token of byte-level BPE, of BPE or unigram models with byte fallback, and of WordPiece
covers at least one byte of the text that the tokenizer sees; an unknown character is one token at most. What the
tokenizer sees may be longer than what was sent, because it normalises: NFD, NFC, NFKC (all of them no longer than
NFKD in UTF-8) or lower case. So the text is measured as sent, in NFKD, and in lower-case NFKD, and the longest
counts. A prompt that is added in front of words (`▁`), begin and end of text are within `EXTRA` per text.

What a server's chat template writes around messages is not the client's text. `PER_MESSAGE`, `PER_CHAT` and
`WITH_TOOLS` are above what the templates of public models write (a role header of 3 to 10 tokens, a default system
prompt of up to 100, tool instructions of up to 500).
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

import msgspec

EXTRA = 4
PER_MESSAGE = 32
PER_CHAT = 256
WITH_TOOLS = 1_024
SIMULATED_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class PromptCount:
    """`exact`: what the engine will report. Otherwise it will report no more."""

    tokens: int
    exact: bool


def prompts_of(kind: str, body: dict[str, Any]) -> list[Any]:
    """What is counted one by one: a chat's messages, or each text or list of token ids."""
    if kind == "chat":
        return [body.get("messages") or []]
    value = body.get("input" if kind == "embedding" else "prompt")
    if value is None:
        return [""]
    return value if isinstance(value, list) and not is_token_ids(value) else [value]


def is_token_ids(value: Any) -> bool:
    """Whether a prompt is given as token ids."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], int)


def simulated(prompt: Any) -> int:
    """How many tokens the simulated engine says: its ids, or one for every four bytes; never none."""
    if is_token_ids(prompt):
        return len(prompt)
    size = len(prompt.encode()) if isinstance(prompt, str) else len(msgspec.json.encode(prompt))
    return max(1, math.ceil(size / SIMULATED_BYTES_PER_TOKEN))


def text_bound(text: str) -> int:
    """No tokenizer makes more tokens of `text`. Cost: linear, about 1 ms for 100,000 characters that are not ASCII."""
    if text.isascii():
        return len(text) + EXTRA
    decomposed = unicodedata.normalize("NFKD", text)
    lowered = unicodedata.normalize("NFKD", text.lower())
    longest = max(len(form.encode("utf-8", "surrogatepass")) for form in (text, decomposed, lowered))
    return longest + EXTRA


def bound(kind: str, body: dict[str, Any], *, context_length: int | None = None) -> int:
    """An upper bound on the prompt's tokens, over all prompts.

    No prompt of a request that is served fills its context, so each counts as no more than that.
    """
    total = 0
    for prompt in prompts_of(kind, body):
        if is_token_ids(prompt):
            tokens = len(prompt)
        elif isinstance(prompt, str):
            tokens = text_bound(prompt)
        else:
            tokens = _chat_bound(prompt, body)
        total += min(tokens, context_length) if context_length else tokens
    return total


def _chat_bound(messages: Any, body: dict[str, Any]) -> int:
    # As JSON: names of fields, of tools and arguments are all in it, whatever a template makes of them. A template
    # that indents JSON adds white space, less than doubling it.
    tokens = PER_CHAT + PER_MESSAGE * len(messages) + text_bound(_json(messages))
    tools = body.get("tools")
    if tools:
        tokens += WITH_TOOLS + 2 * text_bound(_json(tools)) + PER_MESSAGE * len(tools)
    return tokens


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")
