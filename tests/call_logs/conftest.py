"""The edge of the data plane, and empty streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.scoping import platform_scope
from core.valkey import sync_client
from inference import tasks
from inference.call_logs.recorder import process_call_logs
from inference.models import CallLog
from inference.queue.keys import CALL_LOGS, USAGE
from tests.inference.conftest import edge, served

__all__ = ["edge", "served"]


@pytest.fixture(autouse=True)
def _empty_streams() -> Iterator[None]:
    sync_client().delete(USAGE, CALL_LOGS)
    yield
    sync_client().delete(USAGE, CALL_LOGS)


def bring_in() -> list[CallLog]:
    """Everything that was noted and recorded so far, in the table; the oldest first."""
    assert process_call_logs().settle()
    tasks.ingest_usage()
    tasks.ingest_call_logs()
    return stored()


def stored(**conditions: Any) -> list[CallLog]:
    with platform_scope("tests"):
        return list(CallLog.objects.filter(**conditions).order_by("started_at", "id"))
