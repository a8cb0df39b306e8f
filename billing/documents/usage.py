"""Usage of any period as CSV, XLSX or JSON Lines: streamed, ten million records in constant memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from access.models import APIKey
from accounts.models import User
from billing.documents.cells import csv_lines, harmless
from billing.documents.sheets import xlsx
from billing.models import UsageRecord
from billing.money import plain
from billing.selectors.pages import Wanted, usage_pages
from core.ids import public_id
from models_registry.models import ModelVersion
from tenants.models import Tenant

CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/jsonl",
}
# Column and how it is made of a record. Names are the API's, not to be translated: programs read them.
COLUMNS: dict[str, Any] = {
    "id": lambda row: public_id(UsageRecord.id_prefix, row["id"]),
    "tenant": lambda row: public_id(Tenant.id_prefix, row["tenant_id"]),
    "request_id": "request_id",
    "started_at": lambda row: _moment(row["started_at"]),
    "finished_at": lambda row: _moment(row["finished_at"]),
    "key": lambda row: _optional(APIKey.id_prefix, row["key_id"]),
    "user": lambda row: _optional(User.id_prefix, row["user_id"]),
    "model": "model",
    "version": lambda row: _optional(ModelVersion.id_prefix, row["version_id"]),
    "route": "route",
    "stream": "stream",
    "outcome": "outcome",
    "error_code": "error_code",
    "end_user": "end_user",
    "prompt_tokens": "prompt_tokens",
    "cached_tokens": "cached_tokens",
    "completion_tokens": "completion_tokens",
    "queue_ms": "queue_ms",
    "first_token_ms": "first_token_ms",
    "duration_ms": "duration_ms",
    "gpu_prefill_ns": "gpu_prefill_ns",
    "gpu_decode_ns": "gpu_decode_ns",
    "charge_nano": "charge_nano",
    "charge": lambda row: plain(row["charge_nano"]),
    "currency": "currency",
    "tags": "tags",
}


def export(wanted: Wanted, *, form: str) -> Iterator[bytes]:
    """The records as a file of `form` (csv, xlsx, jsonl), piece by piece; nothing is kept of a piece that was taken."""
    makers = {"csv": _csv, "xlsx": _xlsx, "jsonl": _json_lines}
    return makers[form](wanted)


def _csv(wanted: Wanted) -> Iterator[bytes]:
    yield csv_lines([list(COLUMNS)]).encode()
    for page in usage_pages(wanted):
        yield csv_lines([_cells(row) for row in page]).encode()


def _xlsx(wanted: Wanted) -> Iterator[bytes]:
    pages = ([list(map(harmless, _cells(row))) for row in page] for page in usage_pages(wanted))
    return xlsx(list(COLUMNS), pages)


def _json_lines(wanted: Wanted) -> Iterator[bytes]:
    for page in usage_pages(wanted):
        text = "".join(
            json.dumps(
                {name: _value(maker, row) for name, maker in COLUMNS.items()},
                ensure_ascii=False,
                separators=(",", ":"),
            )
            + "\n"
            for row in page
        )
        yield text.encode("utf-8", "replace")


def _cells(row: dict[str, Any]) -> list[Any]:
    cells = []
    for maker in COLUMNS.values():
        value = _value(maker, row)
        if isinstance(value, dict):
            value = json.dumps(value, ensure_ascii=False) if value else ""
        elif isinstance(value, bool):
            value = "true" if value else "false"
        cells.append(value)
    return cells


def _value(maker: Any, row: dict[str, Any]) -> Any:
    return row[maker] if isinstance(maker, str) else maker(row)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _optional(prefix: str, value: Any) -> str | None:
    return public_id(prefix, value) if value is not None else None
