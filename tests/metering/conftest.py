"""The edge of the data plane's tests, and an empty stream of usage records."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.valkey import sync_client
from inference.queue.keys import CALL_LOGS, ENGINE_TOTALS, USAGE
from tests.inference.conftest import edge, served

__all__ = ["edge", "served"]


@pytest.fixture
def stream() -> Iterator[str]:
    """The usage stream, empty before and after, like the other streams that a journal looks at."""
    sync_client().delete(USAGE, CALL_LOGS, ENGINE_TOTALS)
    yield USAGE
    sync_client().delete(USAGE, CALL_LOGS, ENGINE_TOTALS)
