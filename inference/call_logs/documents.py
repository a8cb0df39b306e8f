"""Call logs as CSV or JSON Lines, streamed: nothing is kept of a page that was taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from access.models import APIKey
from accounts.models import User
from billing.documents.cells import csv_lines
from billing.money import plain
from core.ids import public_id
from inference.call_logs.models import CallLog
from inference.call_logs.selectors import Wanted, pages
from models_registry.models import ModelVersion
from tenants.models import Tenant

CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
# Names are the API's, not to be translated: programs read them.
COLUMNS: dict[str, Any] = {
    "id": lambda row: row.public_id,
    "tenant": lambda row: public_id(Tenant.id_prefix, row.tenant_id),
    "request_id": "request_id",
    "started_at": lambda row: _moment(row.started_at),
    "finished_at": lambda row: _moment(row.finished_at),
    "key": lambda row: _optional(APIKey.id_prefix, row.key_id),
    "user": lambda row: _optional(User.id_prefix, row.user_id),
    "address": "address",
    "user_agent": "user_agent",
    "route": "route",
    "model": "model",
    "version": lambda row: _optional(ModelVersion.id_prefix, row.version_id),
    "stream": "stream",
    "parameters": "parameters",
    "outcome": "outcome",
    "status": "status",
    "error_code": "error_code",
    "limit": "limit_name",
    "finish_reason": "finish_reason",
    "trace_id": "trace_id",
    "end_user": "end_user",
    "tags": "tags",
    "prompt_summary": "prompt_summary",
    "response_summary": "response_summary",
    "prompt_chars": "prompt_chars",
    "response_chars": "response_chars",
    "prompt_tokens": "prompt_tokens",
    "cached_tokens": "cached_tokens",
    "completion_tokens": "completion_tokens",
    "queue_ms": "queue_ms",
    "first_token_ms": "first_token_ms",
    "duration_ms": "duration_ms",
    "charge_nano": "charge_nano",
    "charge": lambda row: plain(row.charge_nano),
    "currency": "currency",
    "verdicts": "verdicts",
}


def export(wanted: Wanted, *, form: str) -> Iterator[bytes]:
    """The logs as a file of `form` (csv, jsonl), piece by piece."""
    if form == "csv":
        yield csv_lines([list(COLUMNS)]).encode()
    for page in pages(wanted):
        yield csv_lines(map(_cells, page)).encode("utf-8", "replace") if form == "csv" else json_lines(page)


def json_lines(page: list[CallLog]) -> bytes:
    """One line per log."""
    lines = (
        json.dumps(
            {name: _value(maker, row) for name, maker in COLUMNS.items()},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for row in page
    )
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _cells(row: CallLog) -> list[Any]:
    cells = []
    for maker in COLUMNS.values():
        value = _value(maker, row)
        if isinstance(value, dict | list):
            value = json.dumps(value, ensure_ascii=False) if value else ""
        elif isinstance(value, bool):
            value = "true" if value else "false"
        cells.append(value)
    return cells


def _value(maker: Any, row: CallLog) -> Any:
    return getattr(row, maker) if isinstance(maker, str) else maker(row)


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _optional(prefix: str, value: Any) -> str | None:
    return public_id(prefix, value) if value is not None else None
