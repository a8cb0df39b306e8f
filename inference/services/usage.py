"""Usage records on their way from Valkey to PostgreSQL (`intake` does the work)."""

from __future__ import annotations

from typing import Any

from billing.services import usage as billing_usage
from inference.queue.keys import USAGE
from inference.queue.wire import decode_usage
from inference.services import intake
from inference.services.intake import AfterCommit, Record, Write

# Records that PostgreSQL refuses for what they say: kept for a person to look at.
REFUSED = "atrium:usage:refused"
LOCK = 0x55736167  # "Usag"
SOURCE = intake.Source(
    name="usage",
    stream=USAGE,
    lock=LOCK,
    decode=decode_usage,
    refused=REFUSED,
)


def _write(records: list[Record]) -> list[Any]:
    """Store usage records; nobody has to be told."""
    billing_usage.ingest(records)
    return []


def _after_commit(results: list[Any]) -> None:
    """Nobody is told."""


def ingest(*, write: Write = _write, after_commit: AfterCommit = _after_commit) -> int:
    """Bring waiting usage records to PostgreSQL; returns how many entries left the stream. See `intake.ingest`."""
    return intake.ingest(SOURCE, write=write, after_commit=after_commit)
