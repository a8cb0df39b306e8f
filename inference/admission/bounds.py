"""The worst case of a request, before it runs: how many tokens it can have, and how long it can hold an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from inference.tokens import PromptCount
from models_registry.selectors import Route


@dataclass(frozen=True, slots=True)
class Bounds:
    """What admission holds for: prompt tokens (exact or an upper bound), and the most that may be written."""

    prompt_tokens: int
    most_tokens: int

    @property
    def tokens(self) -> int:
        """All of them; at least one, so that a limit of none lets nothing through."""
        return max(1, self.prompt_tokens + self.most_tokens)


def bound(route: Route, kind: str, body: dict[str, Any], count: PromptCount) -> tuple[Bounds, dict[str, Any]]:
    """The bounds of a request, and its body with the limit on the answer written out.

    The answer is bounded by what the client allows and by what the context leaves. Where the client allows no number
    it is written into the body, so that no engine can exceed the hold. It is not where the prompt's count is but an
    upper bound: engines that know their context stop at its end by themselves, and a smaller number would cut an
    answer short. A model whose context nobody has told gets `UNBOUNDED_MAX_TOKENS`.
    """
    if kind == "embedding":
        return Bounds(count.tokens, 0), body
    asked = body.get("max_completion_tokens") if kind == "chat" else None
    if asked is None:
        asked = body.get("max_tokens")
    context = route.context_length
    if context is None:
        each = asked if asked is not None else settings.UNBOUNDED_MAX_TOKENS
        inject = each if asked is None else None
    else:
        several = _prompts(kind, body) > 1
        room = max(1, context - count.tokens) if count.exact and not several else context
        each = room if asked is None else min(asked, room)
        inject = each if asked is None and count.exact and not several else None
        if asked is not None and asked > each and route.engine == "openai":
            inject = each  # a server elsewhere may think that its context is longer
    if inject is not None:
        body = {
            name: value for name, value in body.items() if name not in ("max_tokens", "max_completion_tokens")
        }
        body["max_completion_tokens" if kind == "chat" else "max_tokens"] = inject
    choices = body.get("n") or 1
    return Bounds(count.tokens, each * choices * _prompts(kind, body)), body


def _prompts(kind: str, body: dict[str, Any]) -> int:
    prompt = body.get("prompt")
    if kind == "completion" and isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def gpu_bound_ns() -> int:
    """The most engine time that one request can be given: all of it, until its deadline."""
    return int(settings.REQUEST_TIMEOUT_S * 1_000_000_000)


def slot_bound_ms() -> int:
    """The longest that a request can occupy a slot."""
    return int(settings.REQUEST_TIMEOUT_S * 1000)
