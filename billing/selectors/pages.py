"""Usage records page by page, each in a transaction and scope of its own: what streams are made of.

No scope and no cursor stays open between pages, however slowly they are read: a page begins where the last one
ended, by start and id, which an index has in this order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from billing.models import UsageRecord
from core.scoping import platform_scope, tenant_scope

PAGE = 5_000
FIELDS = (
    *("request_id", "tenant_id", "key_id", "user_id", "model", "version_id", "route", "stream"),
    *("prompt_tokens", "cached_tokens", "completion_tokens", "queue_ms", "first_token_ms", "duration_ms"),
    *("outcome", "error_code", "end_user", "started_at", "finished_at", "gpu_prefill_ns", "gpu_decode_ns"),
    *("tags", "charge_nano", "currency", "price_id", "ledger_transaction_id"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: of one tenant, or (none named) of all, for the platform's staff."""

    tenant_id: UUID | None
    since: datetime
    until: datetime
    model: str = ""


def usage_pages(wanted: Wanted, *, size: int = PAGE) -> Iterator[list[dict[str, Any]]]:
    """The records in the order in which they started, `size` at a time, as dictionaries of FIELDS and `id`."""
    after: tuple[datetime, UUID] | None = None
    while rows := _page(wanted, after, size):
        yield rows
        if len(rows) < size:
            return
        after = rows[-1]["started_at"], rows[-1]["id"]


def _page(wanted: Wanted, after: tuple[datetime, UUID] | None, size: int) -> list[dict[str, Any]]:
    if wanted.tenant_id is None:
        with platform_scope("usage.export"):
            return _read(wanted, after, size)
    with tenant_scope(wanted.tenant_id):
        return _read(wanted, after, size)


def _read(wanted: Wanted, after: tuple[datetime, UUID] | None, size: int) -> list[dict[str, Any]]:
    begin = wanted.since if after is None else after[0]
    rows = UsageRecord.objects.filter(started_at__gte=begin, started_at__lt=wanted.until)
    if wanted.model:
        rows = rows.filter(model=wanted.model)
    if after is not None:
        rows = rows.filter(Q(started_at__gt=after[0]) | Q(started_at=after[0], id__gt=after[1]))
    return list(rows.order_by("started_at", "id").values("id", *FIELDS)[:size])
