"""Usage records on their way from Valkey to PostgreSQL: read, written, and only then taken off the stream (L11)."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import DatabaseError, connection, transaction
from redis.exceptions import ResponseError

from billing.services import usage as billing_usage
from core.valkey import sync_client
from inference.queue.keys import USAGE
from inference.queue.wire import decode_usage

log = structlog.get_logger(__name__)

GROUP = "postgres"
CONSUMER = "jobs"
LOCK = 0x55736167  # "Usag"
BATCH = 1_000
MOST_BATCHES = 50
# Records that PostgreSQL refuses for what they say: kept for a person to look at.
REFUSED = "atrium:usage:refused"


def ingest() -> int:
    """Bring waiting records to PostgreSQL; returns how many. Idempotent: a record is known by its request's id."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0
        return _drain()


def _drain() -> int:
    valkey = sync_client()
    try:
        valkey.xgroup_create(USAGE, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    total = 0
    # First what an earlier run had read and not finished, then what is new.
    for cursor in ["0"] * MOST_BATCHES + [">"] * MOST_BATCHES:
        answer: Any = valkey.xreadgroup(GROUP, CONSUMER, {USAGE: cursor}, count=BATCH)
        entries = answer[0][1] if answer else []
        if not entries:
            if cursor == ">":
                break
            continue
        records = [decode_usage(fields[b"r"]) for _, fields in entries if fields]
        total += _write(records)
        ids = [entry_id for entry_id, _ in entries]
        valkey.xack(USAGE, GROUP, *ids)
        valkey.xdel(USAGE, *ids)
    return total


def _write(records: list[dict[str, Any]]) -> int:
    try:
        with transaction.atomic():
            return billing_usage.ingest(records)
    except (DatabaseError, ValueError, KeyError) as error:
        if len(records) == 1:
            log.error("usage.refused", request_id=records[0].get("request_id"), error=str(error)[:500])
            sync_client().xadd(REFUSED, {"r": str(records[0])}, maxlen=100_000, approximate=True)
            return 0
    middle = len(records) // 2
    return _write(records[:middle]) + _write(records[middle:])
