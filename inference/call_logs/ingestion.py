"""The jobs worker's side: call notes and usage records become one row per request, in any order, any number of times.

`ingest` takes the web processes' notes off their stream; `complete` is told what was settled, adds tokens and charge,
and makes the row where the web process died before it could say anything. One statement per tenant and batch.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, connection

from billing.models import UsageRecord
from core.ids import new_id
from core.scoping import tenant_scope
from inference.call_logs.models import CallLog, CallLogText, DataKey, LogOutcome
from inference.call_logs.policy import terms_in_scope
from inference.call_logs.wire import decode_note
from inference.queue.keys import CALL_LOGS
from inference.services import intake
from tenants.models import Tenant, TenantStatus

log = structlog.get_logger(__name__)

SOURCE = intake.Source(
    name="call_logs",
    stream=CALL_LOGS,
    lock=0x43616C6C,  # "Call"
    decode=decode_note,
    # SECURITY: what PostgreSQL refuses is dropped: no second place is to hold what people wrote.
    refused="",
    batch=200,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX = (1 << 63) - 1
_TABLE, _TEXTS, _USAGE = CallLog._meta.db_table, CallLogText._meta.db_table, UsageRecord._meta.db_table

# What a note says, with PostgreSQL's types. The first group is the usage record's once that has come.
_COUNTED = {
    "prompt_tokens": "bigint",
    "completion_tokens": "bigint",
}
_SAID = {
    "key_id": "uuid",
    "user_id": "uuid",
    "address": "text",
    "user_agent": "text",
    "route": "text",
    "model": "text",
    "version_id": "uuid",
    "deployment_id": "uuid",
    "replica": "text",
    "stream": "boolean",
    "parameters": "jsonb",
    "prompt_summary": "text",
    "response_summary": "text",
    "search_text": "text",
    "prompt_chars": "bigint",
    "response_chars": "bigint",
    "queue_ms": "bigint",
    "first_token_ms": "bigint",
    "duration_ms": "bigint",
    "verdicts": "jsonb",
    "outcome": "text",
    "status": "smallint",
    "error_code": "text",
    "limit_name": "text",
    "finish_reason": "text",
    "trace_id": "text",
    "end_user": "text",
    "tags": "jsonb",
    "has_text": "boolean",
    "finished_at": "timestamptz",
}
_LENGTHS: dict[str, int | None] = {
    field.name: getattr(field, "max_length", None) for field in CallLog._meta.concrete_fields
}
_NOTED = {**_COUNTED, **_SAID}
_INSERT = f"""
INSERT INTO {_TABLE} AS kept (id, tenant_id, request_id, started_at, cached_tokens, charge_nano, currency, is_settled,
  {", ".join(_NOTED)})
SELECT DISTINCT ON (r.request_id, r.started_at) r.id, %s::uuid, r.request_id, r.started_at, 0, 0, '', false,
  {", ".join(f"r.{name}" for name in _NOTED)}
FROM jsonb_to_recordset(%s::jsonb) AS r(id uuid, request_id text, started_at timestamptz,
  {", ".join(f"{name} {kind}" for name, kind in _NOTED.items())})
ORDER BY r.request_id, r.started_at
ON CONFLICT (tenant_id, request_id, started_at) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _SAID)}
"""  # noqa: S608 - made of the constants above

_INSERT_TEXT = f"""
INSERT INTO {_TEXTS} (id, tenant_id, request_id, started_at, data_key_id, end_user, content)
SELECT DISTINCT ON (r.request_id, r.started_at) r.id, %s::uuid, r.request_id, r.started_at, r.data_key_id, r.end_user,
  decode(r.content, 'base64')
FROM jsonb_to_recordset(%s::jsonb)
  AS r(id uuid, request_id text, started_at timestamptz, data_key_id uuid, end_user text, content text)
ORDER BY r.request_id, r.started_at
ON CONFLICT (tenant_id, request_id, started_at) DO NOTHING
"""  # noqa: S608 - made of the constants above

# What a usage record knows better than the web process, and what it adds where nothing was noted.
_SETTLED = ("prompt_tokens", "cached_tokens", "completion_tokens", "charge_nano", "currency", "price_id")
_FALLBACK = (
    *("key_id", "user_id", "model", "version_id", "deployment_id", "replica", "route", "stream", "queue_ms"),
    *(
        "first_token_ms",
        "duration_ms",
        "outcome",
        "error_code",
        "end_user",
        "tags",
        "started_at",
        "finished_at",
    ),
)
_COMPLETE = f"""
INSERT INTO {_TABLE} AS kept (id, tenant_id, request_id, {", ".join((*_SETTLED, *_FALLBACK))}, is_settled,
  address, user_agent, parameters, prompt_summary, response_summary, search_text, prompt_chars, response_chars,
  verdicts, status, limit_name, finish_reason, trace_id, has_text)
SELECT u.id, u.tenant_id, u.request_id, {", ".join(f"u.{name}" for name in (*_SETTLED, *_FALLBACK))}, true,
  '', '', '{{}}', '', '', '', 0, 0, '[]', 0, '', '', '', false
FROM {_USAGE} u WHERE u.tenant_id = %s::uuid AND u.request_id = ANY(%s)
ORDER BY u.request_id, u.started_at
ON CONFLICT (tenant_id, request_id, started_at) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _SETTLED)}, is_settled = true,
  replica = CASE WHEN kept.replica = '' THEN excluded.replica ELSE kept.replica END
"""  # noqa: S608 - made of the constants above


def ingest() -> int:
    """Bring waiting call notes to PostgreSQL; returns how many left the stream. See `intake.ingest`."""
    return intake.ingest(SOURCE, write=store, after_commit=lambda _results: None)


def store(records: list[dict[str, Any]]) -> list[Any]:
    """Write notes, tenant by tenant; what cannot be a request of any tenant is logged and skipped."""
    found: defaultdict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        try:
            found[UUID(str(record["tenant_id"]))].append(_row(record))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            log.error("call_logs.malformed", error=type(error).__name__)
    for tenant_id, rows in sorted(found.items()):
        with tenant_scope(tenant_id):
            if _is_served(tenant_id):
                _write(tenant_id, rows)
    return []


def _is_served(tenant_id: UUID) -> bool:
    """Whether there is such a tenant, not closed: what is late for one that was erased must not come back."""
    return Tenant.objects.filter(pk=tenant_id).exclude(status=TenantStatus.CLOSED).exists()


def _write(tenant_id: UUID, rows: list[dict[str, Any]]) -> None:
    texts = [row for row in rows if row["has_text"]]
    if texts:
        # A text whose key was destroyed meanwhile is noise that nobody can erase any more: not stored.
        alive = set(DataKey.objects.filter(destroyed_at__isnull=True).values_list("pk", flat=True))
        for row in texts:
            row["has_text"] = UUID(row["data_key_id"]) in alive
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [tenant_id, json.dumps(rows)])
        if any(row["has_text"] for row in texts):
            kept = [{**row, "id": str(new_id())} for row in texts if row["has_text"]]
            cursor.execute(_INSERT_TEXT, [tenant_id, json.dumps(kept)])


def complete(settled: Iterable[Any]) -> None:
    """Add what usage records say of requests that were settled (things with `tenant_id` and `request_id`).

    Idempotent. Raises only what says that the database is away; then it is told again.
    """
    found: defaultdict[UUID, list[str]] = defaultdict(list)
    for each in settled:
        found[each.tenant_id].append(each.request_id)
    for tenant_id, request_ids in sorted(found.items()):
        try:
            with tenant_scope(tenant_id):
                terms = terms_in_scope()
                wanted = sorted({each for each in request_ids if terms.wants(each)})
                if wanted and _is_served(tenant_id):
                    with connection.cursor() as cursor:
                        cursor.execute(_COMPLETE, [tenant_id, wanted])
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            # A log must not hold up money.
            log.exception("call_logs.not_completed", tenant_id=str(tenant_id))


def in_turn(*told: Callable[[list[Any]], object]) -> Callable[[list[Any]], None]:
    """One function that tells several."""

    def tell(results: list[Any]) -> None:
        for each in told:
            each(results)

    return tell


def _row(record: dict[str, Any]) -> dict[str, Any]:
    """A note as it is stored, ready for JSON. Raises ValueError, KeyError, TypeError for one without identity."""
    request_id = record["request_id"]
    if not isinstance(request_id, str) or not 0 < len(request_id) <= 100 or not request_id.isprintable():
        raise ValueError("request_id")
    row: dict[str, Any] = {"id": str(new_id()), "request_id": request_id}
    for name, kind in _NOTED.items():
        row[name] = _value(record, name, kind)
    row["started_at"] = (_EPOCH + timedelta(milliseconds=int(record["started_ms"]))).isoformat()
    row["finished_at"] = (_EPOCH + timedelta(milliseconds=int(record["finished_ms"]))).isoformat()
    if row["outcome"] not in LogOutcome.values:
        row["outcome"] = LogOutcome.FAILED.value
    row["search_text"] = "\n".join((row["prompt_summary"], row["response_summary"])).lower()
    key = record.get("data_key_id")
    row["has_text"] = bool(key and record.get("content"))
    if row["has_text"]:
        row["data_key_id"], row["content"] = str(UUID(str(key))), str(record["content"])
    return row


def _value(record: dict[str, Any], name: str, kind: str) -> Any:
    value = record.get(name)
    if kind in ("bigint", "smallint"):
        if value is None and name == "first_token_ms":
            return None
        return min(max(int(value or 0), 0), _MAX if kind == "bigint" else 999)
    if kind == "uuid":
        return str(UUID(str(value))) if value else None
    if kind == "boolean":
        return bool(value)
    if kind == "jsonb":
        return _plain(value) if value else ([] if name == "verdicts" else {})
    text = value if isinstance(value, str) else ""
    return text.replace("\x00", "\ufffd")[: _LENGTHS.get(name)]


def _plain(value: Any) -> Any:
    """JSON that PostgreSQL can hold: no NUL in any text."""
    text = json.dumps(value)
    return json.loads(text.replace("\\u0000", "\\ufffd"))
