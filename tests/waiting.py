"""Waiting for what a busy machine brings late: a test says what must come true, not how many seconds it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

# Only a test that fails waits this long.
PATIENCE_S = 20.0


def eventually(holds: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    """The first true thing that `holds` gives; fails after the time."""
    give_up_at = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < give_up_at, f"it did not come true within {within_s} s"
        time.sleep(0.01)
    return found


async def until(holds: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    """The same in an event loop; `holds` may be a coroutine function."""
    give_up_at = time.monotonic() + within_s
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < give_up_at, f"it did not come true within {within_s} s"
        await asyncio.sleep(0.005)
