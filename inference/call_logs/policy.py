"""What a tenant wants logged, as an immutable part of the caller's snapshot, and which requests are in the sample."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from uuid import UUID

from inference.call_logs.models import LogLevel, LogPolicy


@dataclass(frozen=True, slots=True)
class LogTerms:
    """One tenant's policy. `key` is the data key that full texts are sealed with; empty below that level."""

    level: str = LogLevel.SUMMARIES.value
    sample_percent: int = 100
    kept_entities: frozenset[str] = frozenset()
    key_id: UUID | None = None
    key: bytes = field(default=b"", repr=False)  # SECURITY: a traceback must not show it (L19)

    @property
    def keeps_text(self) -> bool:
        """Whether full texts are kept. Without a key none is: it would lie open."""
        return self.level == LogLevel.FULL and bool(self.key)

    def wants(self, request_id: str) -> bool:
        """Whether this request is logged: every process comes to the same answer, so halves find each other."""
        if self.level == LogLevel.NOTHING:
            return False
        return self.sample_percent >= 100 or zlib.crc32(request_id.encode()) % 100 < self.sample_percent


def terms_in_scope() -> LogTerms:
    """The active tenant's terms. One query, two for a tenant that keeps full texts."""
    # In the function: `data_keys` writes, and this is read by the web process for every caller.
    from inference.call_logs.data_keys import active_key

    policy = LogPolicy.objects.first()
    if policy is None:
        return LogTerms()
    key_id, key = active_key() if policy.level == LogLevel.FULL else (None, b"")
    return LogTerms(policy.level, policy.sample_percent, frozenset(policy.kept_entities), key_id, key)
