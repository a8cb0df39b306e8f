"""The edge, ready to be called."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.inference.edge import Edge, Served, edge_for


@pytest.fixture
def served(transactional_db: None) -> Served:
    """Committed rows: the gateway reads them through connections of its own."""
    return Served.create()


@pytest.fixture
async def edge(served: Served) -> AsyncIterator[Edge]:
    """The server without a replica: tests start those that they want."""
    async with edge_for(served) as running:
        yield running
