"""`count`: the prompt tokens of a request.

Tokenizers are read once per process and model, in a thread; a short prompt is then counted on the loop itself
(0.1 ms for a line, 1 to 3 ms for 8,000 characters), a long one in a thread, so that no other request waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import structlog

from core import clock
from inference.tokens.bounds import PromptCount, bound, is_token_ids, prompts_of, simulated
from inference.tokens.conversation import Unsure, conversation, tools, variables
from inference.tokens.files import ModelTokens, NoTokenizer
from models_registry.specs import Route, TokenizerFiles

log = structlog.get_logger(__name__)

# Tokenizers in memory: of 10 to 150 MB each.
CAPACITY = 16
# Prompts up to so many characters are counted on the loop.
ON_LOOP_CHARACTERS = 8_000
# A tokenizer that could not be read is tried again after this: the files may be on their way to this machine.
RETRY_S = 60.0

_Found = ModelTokens | NoTokenizer


class Shelf:
    """The tokenizers of this process, by digest, those last used last.

    SECURITY: a template or a pattern can be made to run for ever, and this process serves everybody. Those of the
    platform's models are run; a tenant's own only where its files are, byte for byte, ones that a platform's model has.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._found: OrderedDict[str, tuple[_Found, float]] = OrderedDict()
        self._trusted: set[str] = set()
        self._loading: dict[str, asyncio.Task[_Found]] = {}

    async def get(self, files: TokenizerFiles) -> ModelTokens:
        """The tokenizer of a model. Raises NoTokenizer. Reads files in a thread the first time: 0.1 to 3 s."""
        if files.is_platforms:
            self._trusted.add(files.digest)
        elif files.digest not in self._trusted:
            raise NoTokenizer("a tenant's own files")
        entry = self._found.get(files.digest)
        if entry is not None and isinstance(entry[0], NoTokenizer) and clock.monotonic() - entry[1] > RETRY_S:
            entry = None
        found = entry[0] if entry is not None else await self._load(files)
        if isinstance(found, NoTokenizer):
            raise found
        self._found.move_to_end(files.digest)
        return found

    async def _load(self, files: TokenizerFiles) -> _Found:
        task = self._loading.get(files.digest)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._loading[files.digest] = asyncio.create_task(self._read(files))
        return await asyncio.shield(task)

    async def _read(self, files: TokenizerFiles) -> _Found:
        found: _Found
        try:
            found = await asyncio.to_thread(ModelTokens, Path(files.path))
        except NoTokenizer as error:
            log.info("tokens.bounded", digest=files.digest[:12], reason=str(error)[:300])
            found = error
        except Exception as error:
            log.exception("tokens.unreadable", digest=files.digest[:12])
            found = NoTokenizer(repr(error))
        finally:
            self._loading.pop(files.digest, None)
        self._found[files.digest] = (found, clock.monotonic())
        while len(self._found) > self._capacity:
            self._found.popitem(last=False)
        return found


shelf = Shelf()


async def count(route: Route, kind: str, body: dict[str, Any]) -> PromptCount:
    """The tokens of all prompts of a request that `checked` has let through, as the engine will count them.

    `kind`: chat, completion or embedding. Never raises for what a client sent: where the count cannot be known, an
    upper bound with `exact` false.
    """
    if route.engine == "simulated":
        return PromptCount(sum(map(simulated, prompts_of(kind, body))), exact=True)
    if kind != "chat" and all(map(is_token_ids, prompts := prompts_of(kind, body))):
        return PromptCount(sum(map(len, prompts)), exact=route.engine == "vllm")
    if route.tokenizer is not None:
        try:
            tokens = await shelf.get(route.tokenizer)
            if _size(kind, body) > ON_LOOP_CHARACTERS:
                return PromptCount(await asyncio.to_thread(_exactly, tokens, kind, body), exact=True)
            return PromptCount(_exactly(tokens, kind, body), exact=True)
        except (NoTokenizer, Unsure, jinja2.TemplateError):
            pass
        except Exception:
            # A template may stumble over anything; the engine will say so to the client.
            log.warning("tokens.count_failed", model=route.name, exc_info=True)
    return PromptCount(bound(kind, body, context_length=route.context_length), exact=False)


async def detokenizer(route: Route, body: dict[str, Any]) -> Callable[[list[int]], str] | None:
    """What gives the text of the token ids in a request's prompt; None where it has none, or nobody here can tell."""
    given = body.get("prompt", body.get("input"))
    if not (is_token_ids(given) or (isinstance(given, list) and any(map(is_token_ids, given)))):
        return None
    if route.engine == "simulated":
        return lambda ids: ""  # its ids stand for no text
    if route.tokenizer is None:
        return None
    try:
        return (await shelf.get(route.tokenizer)).written
    except NoTokenizer:
        return None


def _exactly(tokens: ModelTokens, kind: str, body: dict[str, Any]) -> int:
    if kind == "chat":
        return tokens.text(_prompt(tokens, body), special=False)
    return sum(
        len(prompt) if is_token_ids(prompt) else tokens.text(prompt) for prompt in prompts_of(kind, body)
    )


def _prompt(tokens: ModelTokens, body: dict[str, Any]) -> str:
    given = tools(body)
    template = tokens.template(with_tools=given is not None)
    messages = conversation(body["messages"], template.content_format)
    known = {**tokens.special, "documents": None, **variables(body)}
    return template.render(messages, **{**known, "tools": given, "add_generation_prompt": True})


def _size(kind: str, body: dict[str, Any]) -> int:
    """Characters to be counted, roughly and at once."""
    if kind != "chat":
        return sum(map(len, prompts_of(kind, body)))
    size = 1_000 * len(body.get("tools") or ())
    for message in body["messages"]:
        content = message.get("content") or ""
        size += 50 + (
            len(content)
            if isinstance(content, str)
            else sum(len(part.get(part["type"]) or "") for part in content)
        )
        size += 200 * len(message.get("tool_calls") or ())
    return size
