"""What a replica says of itself in usage records, added up for the reconciliation."""

from __future__ import annotations

from dataclasses import dataclass

from inference.queue.wire import UsageNote


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
