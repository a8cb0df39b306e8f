"""What a replica says of itself in usage records, added up for the reconciliation."""

from __future__ import annotations

from dataclasses import dataclass

from core import clock
from inference.queue.wire import EngineTotals, UsageNote
from inference.worker.port import Counters


@dataclass(slots=True)
class Noted:
    """Sums over the usage records that this replica wrote, and the engine time of those that it did not write."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attributed_ns: int = 0
    dropped_ns: int = 0
    undercounted: int = 0  # prompts that the engine found longer than admission had counted them

    def add(self, note: UsageNote) -> None:
        """One record more."""
        self.requests += 1
        self.prompt_tokens += note.prompt_tokens
        self.completion_tokens += note.completion_tokens
        self.attributed_ns += note.gpu_prefill_ns + note.gpu_decode_ns

    def totals(
        self, counters: Counters, *, replica: str, deployment_id: str, node: str, begun_ms: int
    ) -> EngineTotals:
        """Beside what the engine says that it has done."""
        return EngineTotals(
            replica=replica,
            deployment_id=deployment_id,
            node=node,
            begun_ms=begun_ms,
            seen_ms=clock.epoch_ms(),
            requests=self.requests,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            engine_prompt_tokens=counters.prompt_tokens,
            engine_completion_tokens=counters.completion_tokens,
            busy_ns=counters.busy_ns,
            attributed_ns=self.attributed_ns,
            dropped_ns=self.dropped_ns,
        )
