"""Control tokens in people's text are written so that they are text: no message can pretend to be a template's.

A tokenizer turns `<|im_start|>` into one token wherever it stands, in a message too. Behind its first character such a
word gets a hair space: it reads the same, and is none. The words are those of the model's own tokenizer and template,
and where these cannot be read, the known ones of public models. Prompts of `/v1/completions` are the whole of what a
model reads, control tokens included, and stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any, Final

from inference.tokens import counting
from inference.tokens.files import NoTokenizer
from models_registry.specs import Route

HAIR_SPACE: Final = "\u200a"
# How public models write theirs: ChatML, Llama, Gemma, Mistral, DeepSeek, Phi, BERT, T5 and those after them.
_KNOWN: Final = (
    r"<\|[^|<>\s]{1,60}\|>|<｜[^｜<>\s]{1,60}｜>|</?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|tool_call"
    r"|tool_response|tools|think|image|audio|unused\d+|extra_id_\d+)>|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_RESULTS"
    r"|TOOL_CALLS|SYSTEM_PROMPT|IMG|CLS|SEP|MASK|PAD|UNK|BOS|EOS)\]|<</?SYS>>"
)
# What every one of them begins with: most texts hold none, and are not looked at further.
_BEGINNING: Final = re.compile(r"[<\[]")
_ANY: Final = re.compile(_KNOWN, re.IGNORECASE)


async def control_words(route: Route) -> re.Pattern[str]:
    """What is a control token to the model behind a route."""
    if route.tokenizer is None:
        return _ANY
    try:
        found = await counting.shelf.get(route.tokenizer)
    except NoTokenizer:
        return _ANY
    return _pattern(found.control, found.template_sources)


@lru_cache(maxsize=64)
def _pattern(words: tuple[str, ...], templates: tuple[str, ...]) -> re.Pattern[str]:
    """Its tokens, and what its templates write like one (`[INST]` is none, and as good as one)."""
    written = {match[0] for template in templates for match in _ANY.finditer(template)}
    all_words = sorted({*words, *written}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, all_words)) or r"(?!)", re.IGNORECASE)


def as_text(kind: str, body: dict[str, Any], words: re.Pattern[str]) -> dict[str, Any]:
    """The request with no control token in it that its sender wrote. Costs a search per text."""
    names = {"chat": ("messages", "tools", "chat_template_kwargs"), "embedding": ("input",)}.get(kind, ())
    changed = {name: _written(body[name], words) for name in names if name in body}
    return {**body, **changed} if any(changed[name] is not body[name] for name in changed) else body


def _written(value: Any, words: re.Pattern[str]) -> Any:
    """The value, or one like it whose texts hold no control token; the same object where nothing changes."""
    if isinstance(value, str):
        return broken_up(value, words)
    if isinstance(value, list):
        made = [_written(item, words) for item in value]
        made = _apart(made, words)
        return made if any(new is not old for new, old in zip(made, value, strict=True)) else value
    if isinstance(value, dict):
        changed = {
            broken_up(name, words): item if name in ("role", "type") else _written(item, words)
            for name, item in value.items()
        }
        return changed if _differs(changed, value) else value
    return value


def _differs(made: dict[str, Any], value: dict[str, Any]) -> bool:
    return any(new != old or made[new] is not value[old] for new, old in zip(made, value, strict=True))


def broken_up(text: str, words: re.Pattern[str]) -> str:
    """`text` with a hair space in each control token."""
    if not text or not (_BEGINNING.search(text) or words.search(text)):
        # Some models' words begin with another character, and wide forms of brackets become brackets.
        if text.isascii():
            return text
        plain = unicodedata.normalize("NFKC", text)
        return broken_up(plain, words) if words.search(plain) else text
    while (match := words.search(text)) is not None:
        text = f"{text[: match.start() + 1]}{HAIR_SPACE}{text[match.start() + 1 :]}"
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", text.replace(HAIR_SPACE, "\x00"))
        if words.search(plain):
            return broken_up(plain.replace("\x00", HAIR_SPACE), words)
    return text


def _apart(parts: list[Any], words: re.Pattern[str]) -> list[Any]:
    """Parts that a template may put one behind the other, so that no control token comes of two of them."""
    texts = [
        part.get("text") for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    if len(texts) < 2 or not words.search("".join(map(str, texts))):
        return parts
    return [
        {**part, "text": HAIR_SPACE + part["text"]}
        if isinstance(part, dict) and isinstance(part.get("text"), str)
        else part
        for part in parts
    ]
