"""How many examples the generated tests look at: a share of them in `make quick`, all in `make test`."""

from __future__ import annotations

import os

LEAST = 10


def examples(number: int) -> int:
    """`number`, or the share of it that ATRIUM_TEST_EXAMPLES asks for (0 to 1), at least 10."""
    return max(min(number, LEAST), int(number * float(os.environ.get("ATRIUM_TEST_EXAMPLES", "1"))))
