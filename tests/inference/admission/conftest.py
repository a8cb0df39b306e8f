"""A desk of one tenant of its own, and one whose clock of Valkey the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inference.admission import seeds
from tests.inference.admission.harness import Desk


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of one web process need not wait for others."""
    monkeypatch.setattr(seeds, "GRACE_MS", 0)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    await made.close()


@pytest.fixture
async def clocked() -> AsyncIterator[Desk]:
    made = Desk(clock=True)
    await made.set_clock(1_800_000_000_000_000)
    yield made
    await made.close()


@pytest.fixture
async def another() -> AsyncIterator[Desk]:
    """A second web process."""
    made = Desk()
    yield made
    await made.close()
