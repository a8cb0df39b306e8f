"""When keys were last used: collected in Valkey by the hot path, brought to the database now and then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import structlog
from django.db import connection, transaction
from redis.exceptions import RedisError

from access.models import APIKey
from core import clock
from core.scoping import platform_scope
from core.valkey import sync_client

log = structlog.get_logger(__name__)

# Hash of key uuid → epoch milliseconds. The data plane writes to it with every admitted request.
KEY_USE = "atrium:key-use"
BATCH = 500

# Drop what has been stored, unless it was written anew in between.
_FORGET = """
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
"""


def note(*, key: APIKey) -> None:
    """Remember that `key` is in use now: one round trip to Valkey. A lost note is no harm, so it never
    raises."""
    try:
        sync_client().hset(KEY_USE, str(key.pk), str(clock.epoch_ms()))
    except RedisError:
        log.warning("access.key_use_not_noted", exc_info=True)


def flush() -> int:
    """Store the noted uses as `last_used_at` and forget them. Returns how many keys were touched.

    Times never go back. Safe to run twice at once: what is noted meanwhile stays for the next run.
    """
    touched = 0
    cursor = 0
    while True:
        cursor, page = cast(
            "tuple[int, dict[bytes, bytes]]", sync_client().hscan(KEY_USE, cursor, count=BATCH)
        )
        if page:
            touched += _store(_parsed(page))
            _forget(page)
        if cursor == 0:
            return touched


def _parsed(page: dict[bytes, bytes]) -> dict[UUID, datetime]:
    uses: dict[UUID, datetime] = {}
    for key_id, epoch_ms in page.items():
        try:
            uses[UUID(key_id.decode())] = datetime.fromtimestamp(int(epoch_ms) / 1000, tz=UTC)
        except (ValueError, OverflowError):
            log.warning("access.key_use_unreadable")
    return uses


def _store(uses: dict[UUID, datetime]) -> int:
    table = connection.ops.quote_name(APIKey._meta.db_table)
    with platform_scope(reason="access.flush_key_use"), transaction.atomic(), connection.cursor() as cursor:
        # Ordered locks first: two flushes at once must not wait for each other in a circle.
        cursor.execute(f"SELECT 1 FROM {table} WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [list(uses)])  # noqa: S608
        cursor.execute(
            f"UPDATE {table} AS key SET last_used_at = used.at"  # noqa: S608  (the table's own name)
            " FROM unnest(%s::uuid[], %s::timestamptz[]) AS used (id, at)"
            " WHERE key.id = used.id AND (key.last_used_at IS NULL OR key.last_used_at < used.at)",
            [list(uses), list(uses.values())],
        )
        return int(cursor.rowcount)


def _forget(page: dict[bytes, bytes]) -> None:
    arguments: list[Any] = [item for pair in page.items() for item in pair]
    sync_client().eval(_FORGET, 1, KEY_USE, *arguments)
