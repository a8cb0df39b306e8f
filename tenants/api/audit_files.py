"""Events of the audit trail as CSV or JSON Lines: streamed, in constant memory, whatever their number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django_filters import utils

from api.cells import csv_lines
from audit import selectors
from audit.models import AuditEvent
from core.scoping import platform_scope, tenant_scope
from tenants.api.audit_filters import AuditEventFilter
from tenants.api.audit_serializers import AuditEventOutput

PAGE = 1_000
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
COLUMNS = tuple(AuditEventOutput().fields)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose events (none named: all, for the platform's staff), and the query that filters them."""

    tenant_id: UUID | None
    query: dict[str, str]

    def refuse_invalid(self) -> None:
        """Raise ValidationError naming each filter that is wrong."""
        filters = AuditEventFilter(self.query, queryset=selectors.events())
        if not filters.is_valid():
            raise utils.translate_validation(filters.errors)


def export(wanted: Wanted, *, form: str) -> Iterator[bytes]:
    """The events, newest first, piece by piece."""
    if form == "csv":
        yield csv_lines([COLUMNS]).encode()
    last: UUID | None = None
    while page := _page(wanted, last):
        made = AuditEventOutput(page, many=True, context={"is_staff": wanted.tenant_id is None}).data
        rows: list[dict[str, Any]] = list(made)
        yield _csv(rows) if form == "csv" else _json_lines(rows)
        last = page[-1].pk


def _page(wanted: Wanted, last: UUID | None) -> list[AuditEvent]:
    if wanted.tenant_id is None:
        with platform_scope("audit.export"):
            return _read(wanted, last)
    with tenant_scope(wanted.tenant_id):
        return _read(wanted, last)


def _read(wanted: Wanted, last: UUID | None) -> list[AuditEvent]:
    found = AuditEventFilter(wanted.query, queryset=selectors.events()).qs
    if last is not None:
        found = found.filter(pk__lt=last)
    return list(found.order_by("-pk")[:PAGE])


def _csv(rows: list[dict[str, Any]]) -> bytes:
    def cell(value: Any) -> Any:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value

    return csv_lines([[cell(row[name]) for name in COLUMNS] for row in rows]).encode()


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    lines = (json.dumps(dict(row), ensure_ascii=False, separators=(",", ":")) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()
