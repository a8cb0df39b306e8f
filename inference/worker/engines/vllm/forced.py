"""Forced prefixes: regenerate exactly the tokens that another replica had produced, then go on freely.

A stream whose replica died goes on at the next token (law L3). Feeding the old tokens as part of the prompt would be
faster but wrong: the grammar of structured output, penalties, `min_tokens`, stop strings, seeds, counts and the tool
parser all look at *output* tokens. Here the first `len(forced)` samples have one choice each, and everything else in
vLLM runs as if nothing had happened. Cost: one decode step per forced token; nothing for other requests.

Loaded by name inside vLLM's engine process (custom logits processors of V1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

if TYPE_CHECKING:
    from vllm.config import VllmConfig

EXTRA_ARG = "atrium_forced"
NAME = "inference.worker.engines.vllm.forced:ForcedPrefix"


class ForcedPrefix(LogitsProcessor):
    """Leaves one candidate per step to requests that carry `extra_args["atrium_forced"]`, until it is used up."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._device = device
        # Batch index -> (forced ids, the request's running list of output ids).
        self._forced: dict[int, tuple[list[int], list[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        """It decides the argmax."""
        return False

    @staticmethod
    def _added(
        params: SamplingParams, _prompt: list[int] | None, output: list[int]
    ) -> tuple[list[int], list[int]] | None:
        forced = (params.extra_args or {}).get(EXTRA_ARG)
        return (forced, output) if forced and len(output) < len(forced) else None

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests as they enter, move in and leave the batch."""
        process_dict_updates(self._forced, batch_update, self._added)
        for index in [i for i, (forced, output) in self._forced.items() if len(output) >= len(forced)]:
            del self._forced[index]

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask all but the forced token in the rows of requests that are still replaying."""
        if not self._forced:
            return logits
        rows, tokens = [], []
        for index, (forced, output) in self._forced.items():
            if len(output) < len(forced):
                rows.append(index)
                tokens.append(forced[len(output)])
        if rows:
            row = torch.tensor(rows, device=self._device)
            token = torch.tensor(tokens, device=self._device)
            logits[row] = float("-inf")
            logits[row, token] = 0.0
        return logits
