"""Many at once: functions that run in threads with database connections of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections


def at_once(work: list[Callable[[], Any]], *, threads: int = 16) -> list[Any]:
    """Run everything, beginning together; results in order, an exception as the result that it is."""
    barrier = threading.Barrier(min(threads, len(work)))
    first = threading.local()

    def run(each: Callable[[], Any]) -> Any:
        if not getattr(first, "passed", False):
            first.passed = True
            barrier.wait(30)
        try:
            return each()
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(barrier.parties) as pool:
        return list(pool.map(run, work))
