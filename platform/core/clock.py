"""The clock. Code asks here for the time, so that tests can set it and nobody mixes wall and monotonic
time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Wall-clock time, timezone-aware, UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds on a clock that never jumps; for durations and deadlines inside one process."""
    return time.monotonic()


def epoch_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
