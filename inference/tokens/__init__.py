"""How many tokens a prompt has, counted in the web process before a request is admitted (law L10).

Exactly as the engine will count, by the model's own `tokenizer.json` and chat template, without torch, vLLM or
transformers; where that cannot be had, an upper bound.
"""

from inference.tokens.bounds import PromptCount
from inference.tokens.counting import count, detokenizer

__all__ = ["PromptCount", "count", "detokenizer"]
