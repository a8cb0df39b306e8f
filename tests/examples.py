"""How many examples the generated tests look at: a share of them in `make quick`, all in `make test`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from zlib import crc32

import pytest

LEAST = 10
FEW = 2


def share() -> float:
    """What ATRIUM_TEST_EXAMPLES asks for, 0 to 1."""
    return float(os.environ.get("ATRIUM_TEST_EXAMPLES", "1"))


def examples(number: int) -> int:
    """`number`, or the share of it that is asked for, at least 10."""
    return max(min(number, LEAST), int(number * share()))


def sample(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Those that belong to the share: of a matrix the share itself, of any other table of cases the first few by a
    hash of their names, so that every kind of case has its chance."""
    if share() >= 1:
        return set(items)
    tables: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not item.get_closest_marker("matrix") or _place(item) < share():
            tables.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return {item for table in tables.values() for item in sorted(table, key=_place)[:FEW]}


def _place(item: pytest.Item) -> float:
    return crc32(item.nodeid.encode()) / 2**32
