"""Taking in usage records, which arrive late, twice, out of order, and by more than one party."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection

from billing.models import Outcome, UsageRecord
from core.ids import new_id
from core.scoping import tenant_scope
from tenants.models import Tenant, TenantStatus

log = structlog.get_logger(__name__)

_TABLE = UsageRecord._meta.db_table
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_COUNT = (1 << 63) - 1

# What a record says, with PostgreSQL's types; the columns beside id, tenant and request id.
_COLUMNS = {
    "key_id": "uuid",
    "user_id": "uuid",
    "model": "text",
    "version_id": "uuid",
    "deployment_id": "uuid",
    "replica": "text",
    "route": "text",
    "stream": "boolean",
    "prompt_tokens": "bigint",
    "cached_tokens": "bigint",
    "completion_tokens": "bigint",
    "queue_ms": "bigint",
    "first_token_ms": "bigint",
    "duration_ms": "bigint",
    "outcome": "text",
    "error_code": "text",
    "end_user": "text",
    "gpu_prefill_ns": "bigint",
    "gpu_decode_ns": "bigint",
    "tags": "jsonb",
    "price_id": "uuid",
    "hold_nano": "bigint",
    "epoch": "text",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
}


_LENGTHS: dict[str, int | None] = {
    field.name: getattr(field, "max_length", None) for field in UsageRecord._meta.concrete_fields
}


def _rank(row: str) -> str:
    """How much a record is worth, as SQL: a report before a guess, more before less, and then any total order.

    Because the order is total, the row that stays is the same whatever came first.
    """
    everything = ", ".join(f"{row}.{name}" for name in _COLUMNS)
    return (
        f"ROW({row}.outcome <> '{Outcome.LOST}', {row}.completion_tokens, {row}.finished_at,"
        f' ROW({everything})::text COLLATE "C")'
    )


# What settlement adds; a record that is only stored leaves it as it is.
_SETTLED = {
    "is_settled": "boolean",
    "charge_nano": "bigint",
    "rated_nano": "bigint",
    "escrow_nano": "bigint",
    "currency": "text",
    "ledger_transaction_id": "uuid",
}

# One statement for a batch: of several records of one request the best is taken, and it replaces a stored one
# only when it is better. Sorted by request, so that two writers at once cannot deadlock.
_INSERT = f"""
INSERT INTO {_TABLE} (id, tenant_id, request_id, {", ".join(_COLUMNS)}, {", ".join(_SETTLED)})
SELECT DISTINCT ON (r.request_id) r.id, %s::uuid, r.request_id, {", ".join(f"r.{name}" for name in _COLUMNS)},
  false, 0, 0, 0, '', NULL
FROM jsonb_to_recordset(%s::jsonb)
  AS r(id uuid, request_id text, {", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())})
ORDER BY r.request_id, {_rank("r")} DESC
ON CONFLICT (tenant_id, request_id, started_at) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}
WHERE {_rank("excluded")} > {_rank(_TABLE)}
RETURNING id
"""  # noqa: S608 - made of the constants above

_INCOMING = f"""jsonb_to_recordset(%s::jsonb)
  AS r(id uuid, request_id text, {", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())}"""

# What of a batch is to be settled: the best record of each request, beside the one that is stored.
_COMPARE = f"""
SELECT DISTINCT ON (r.request_id) r.position, e.request_id IS NULL OR {_rank("r")} > {_rank("e")},
  CASE WHEN e.request_id IS NOT NULL THEN jsonb_build_object(
    'request_id', e.request_id, {", ".join(f"'{name}', e.{name}" for name in (*_COLUMNS, *_SETTLED))}) END
FROM {_INCOMING}, position bigint)
LEFT JOIN {_TABLE} e ON e.tenant_id = %s::uuid AND e.request_id = r.request_id
ORDER BY r.request_id, {_rank("r")} DESC
"""  # noqa: S608 - made of the constants above

_WRITE = f"""
INSERT INTO {_TABLE} (id, tenant_id, request_id, {", ".join((*_COLUMNS, *_SETTLED))})
SELECT r.id, %s::uuid, r.request_id, {", ".join(f"r.{name}" for name in (*_COLUMNS, *_SETTLED))}
FROM {_INCOMING}, {", ".join(f"{name} {kind}" for name, kind in _SETTLED.items())})
ORDER BY r.request_id
ON CONFLICT (tenant_id, request_id, started_at) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in (*_COLUMNS, *_SETTLED))}
"""  # noqa: S608 - made of the constants above

Row = dict[str, Any]


def ingest(records: Iterable[Mapping[str, Any]]) -> int:
    """Store usage records without settling them; returns how many requests were new.

    Idempotent: any batches, in any order, any number of times, leave the same rows. The records of charged
    tenants go to `billing.services.settlement.settle`, which stores them and what they cost in one.

    A record is a mapping with the fields of UsageRecord, `tenant_id`, and times either as `started_ms` and
    `finished_ms` (since 1970) or as `started_at` and `finished_at`. What cannot belong to any tenant's
    request is logged as an error and skipped, so that it does not hold up the rest. One transaction and two
    queries per tenant.
    """
    return sum(_store(tenant_id, rows) for tenant_id, rows in by_tenant(records))


def by_tenant(records: Iterable[Mapping[str, Any]]) -> list[tuple[UUID, list[Row]]]:
    """Records as they are stored, tenant by tenant, in one order everywhere so that no two writers deadlock."""
    found: dict[UUID, list[Row]] = defaultdict(list)
    for record in records:
        try:
            tenant_id = UUID(str(record["tenant_id"]))
            found[tenant_id].append(_normalised(record))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            _reject(record, reason=repr(error))
    return sorted(found.items())


def tenant_exists(tenant_id: UUID, rows: list[Row]) -> bool:
    """Whether there is such a tenant; its records are rejected where there is none. Needs the tenant's scope.

    What is late for a tenant that was closed is stored without names: they were erased.
    """
    status = Tenant.objects.filter(pk=tenant_id).values_list("status", flat=True).first()
    if status == TenantStatus.CLOSED:
        for row in rows:
            row.update(end_user="", tags={}, user_id=None, key_id=None)
    if status is not None:
        return True
    for row in rows:
        _reject(row, reason="no such tenant")
    return False


def compare(tenant_id: UUID, rows: list[Row]) -> list[tuple[Row, bool, Row | None]]:
    """Of each request the best record, whether it is better than the stored one, and the stored one if any.

    One query. The settlement's lock must be held, so that nothing is stored in between.
    """
    numbered = [{**row, "position": position} for position, row in enumerate(rows)]
    with connection.cursor() as cursor:
        cursor.execute(_COMPARE, [json.dumps(numbered), tenant_id])
        return [
            (rows[position], better, json.loads(stored) if isinstance(stored, str) else stored)
            for position, better, stored in cursor.fetchall()
        ]


def write(tenant_id: UUID, rows: list[Row]) -> None:
    """Store settled records, in place of what is stored of the same requests. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [tenant_id, json.dumps(rows)])


def _store(tenant_id: UUID, rows: list[Row]) -> int:
    with tenant_scope(tenant_id):
        if not tenant_exists(tenant_id, rows):
            return 0
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, [tenant_id, json.dumps(rows)])
            # A stored row keeps its id when a better record replaces it (a partitioned table tells no xmax).
            given = {row["id"] for row in rows}
            return sum(str(row_id) in given for (row_id,) in cursor.fetchall())


def _normalised(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as it is stored, ready for JSON.

    Raises ValueError, KeyError, TypeError for one without identity.
    """
    request_id = record["request_id"]
    if not isinstance(request_id, str) or not 0 < len(request_id) <= 100 or not request_id.isprintable():
        raise ValueError("request_id")
    row: dict[str, Any] = {"id": str(new_id()), "request_id": request_id}
    for name, kind in _COLUMNS.items():
        if name == "price_id":
            row[name] = _price(record)
        elif kind == "jsonb":
            row[name] = _tags(record.get(name))
        elif kind == "timestamptz":
            row[name] = _time(record, name).isoformat()
        elif kind == "uuid":
            row[name] = str(UUID(str(record[name]))) if record.get(name) else None
        elif kind == "bigint":
            row[name] = _count(record.get(name), optional=name == "first_token_ms")
        elif kind == "boolean":
            row[name] = bool(record.get(name))
        else:
            row[name] = _text(record.get(name), _LENGTHS[name])
    if row["outcome"] not in Outcome.values:
        row["outcome"] = Outcome.FAILED.value
    return row


def _time(record: Mapping[str, Any], name: str) -> datetime:
    milliseconds = record.get(name.replace("_at", "_ms"))
    if milliseconds is not None:
        return _EPOCH + timedelta(milliseconds=int(milliseconds))
    value = record[name]
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(name)
    return moment.astimezone(UTC)


def _price(record: Mapping[str, Any]) -> str | None:
    """A usage note calls it `price`, and has an empty text where nothing is charged."""
    value = record.get("price_id") or record.get("price")
    try:
        return str(UUID(str(value))) if value else None
    except ValueError:
        # What was used is not lost for that; it is not charged either.
        log.error("billing.price_malformed", request_id=str(record.get("request_id"))[:100])
        return None


def _tags(value: Any) -> dict[str, str]:
    """SECURITY: these come from clients."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {_text(name, 64): _text(said, 512) for name, said in list(pairs)[:16]}


def _count(value: Any, *, optional: bool) -> int | None:
    if value is None:
        return None if optional else 0
    return min(max(int(value), 0), _MAX_COUNT)


def _text(value: Any, length: int | None) -> str:
    """SECURITY: some of these come from clients; PostgreSQL refuses NUL and lone surrogates, and would refuse
    the whole batch with them."""
    text = str(value or "").replace("\0", "")
    return text.encode("utf-8", "replace").decode()[:length]


def _reject(record: Mapping[str, Any], *, reason: str) -> None:
    log.error("billing.usage_rejected", request_id=str(record.get("request_id"))[:100], reason=reason[:200])
