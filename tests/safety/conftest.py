"""A source of guards, as every process that checks texts has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.valkey import sync_client
from safety.loading import GuardSource


@pytest.fixture
def no_incidents() -> Iterator[None]:
    """None told of before, and none left behind."""

    def clear() -> None:
        for key in sync_client().scan_iter("atrium:*safety:incident:*"):
            sync_client().delete(key)

    clear()
    yield
    clear()


@pytest.fixture
def source() -> GuardSource:
    """What a process that checks texts asks for its guards."""
    return GuardSource()
