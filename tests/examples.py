"""How many examples the generated tests look at: a share of them in `make quick`, all in `make test`."""

from __future__ import annotations

import os
from zlib import crc32

LEAST = 10


def share() -> float:
    """What ATRIUM_TEST_EXAMPLES asks for, 0 to 1."""
    return float(os.environ.get("ATRIUM_TEST_EXAMPLES", "1"))


def examples(number: int) -> int:
    """`number`, or the share of it that is asked for, at least 10."""
    return max(min(number, LEAST), int(number * share()))


def in_sample(name: str) -> bool:
    """Whether a case of a generated matrix belongs to the share. The same cases every time."""
    return crc32(name.encode()) % 1000 < share() * 1000
