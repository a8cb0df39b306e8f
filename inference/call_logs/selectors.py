"""Reads of call logs. What is absent and what is another tenant's raise the same NotFound (L17).

Search by text walks along a tenant's rows, newest first, and compares each: no index of PostgreSQL can be used behind
row-level security for it (`LIKE` is not leakproof), and pg_trgm is not there everywhere. So a search looks at a bounded
span of time and gives up after TEXT_SEARCH_MS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from core import clock
from core.errors import NotFound
from core.ids import parse_public_id
from core.scoping import platform_scope, tenant_scope
from inference.call_logs.models import CallLog, CallLogText, LogPolicy

TEXT_SEARCH_DAYS = 7  # back from the end of the span, where no beginning is named
TEXT_SEARCH_MS = 8_000
PAGE = 2_000


def call_logs() -> QuerySet[CallLog]:
    """The logs in scope, newest first."""
    return CallLog.objects.all()


def log_by_public_id(*, public_id: str) -> CallLog:
    """One log in scope by its `log_…` id. Raises NotFound."""
    try:
        found = call_logs().filter(pk=parse_public_id(public_id, CallLog.id_prefix)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(_("There is no such log."))
    return found


def text_of(log: CallLog) -> CallLogText | None:
    """The sealed text of a request, if one is kept."""
    found: CallLogText | None = CallLogText.objects.filter(
        tenant_id=log.tenant_id, request_id=log.request_id, started_at=log.started_at
    ).first()
    return found


def log_policies() -> QuerySet[LogPolicy]:
    """The policies in scope."""
    return LogPolicy.objects.select_related("tenant").order_by("-id")


def policy_in_scope() -> LogPolicy:
    """The active tenant's policy; the defaults, unsaved, where it has set none."""
    return LogPolicy.objects.first() or LogPolicy()


def containing(
    rows: QuerySet[CallLog], text: str, *, since: datetime | None, until: datetime | None
) -> QuerySet[CallLog]:
    """Those whose summaries hold `text`, capitals or not; of the last TEXT_SEARCH_DAYS where no beginning is named.

    Bounds the time of every statement up to the end of the transaction.
    """
    if since is None:
        rows = rows.filter(started_at__gte=(until or clock.now()) - timedelta(days=TEXT_SEARCH_DAYS))
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TEXT_SEARCH_MS)])
    # Django escapes `%` and `_`: they stand for themselves (CVE-2026-25591).
    return rows.filter(search_text__contains=text.lower())


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which logs: of one tenant, or (none named) of all, for the platform's staff."""

    tenant_id: UUID | None
    since: datetime
    until: datetime
    only: dict[str, Any] = field(default_factory=dict)  # further conditions, by field


def pages(wanted: Wanted, *, size: int = PAGE) -> Iterator[list[CallLog]]:
    """The logs in the order in which they started, `size` at a time, each page in a transaction of its own."""
    after: tuple[datetime, UUID] | None = None
    while rows := _page(wanted, after, size):
        yield rows
        if len(rows) < size:
            return
        after = rows[-1].started_at, rows[-1].pk


def _page(wanted: Wanted, after: tuple[datetime, UUID] | None, size: int) -> list[CallLog]:
    if wanted.tenant_id is None:
        with platform_scope("call_logs.export"):
            return _read(wanted, after, size)
    with tenant_scope(wanted.tenant_id):
        return _read(wanted, after, size)


def _read(wanted: Wanted, after: tuple[datetime, UUID] | None, size: int) -> list[CallLog]:
    begin = wanted.since if after is None else after[0]
    rows = CallLog.objects.filter(started_at__gte=begin, started_at__lt=wanted.until, **wanted.only)
    if after is not None:
        rows = rows.filter(Q(started_at__gt=after[0]) | Q(started_at=after[0], id__gt=after[1]))
    return list(rows.defer("search_text").order_by("started_at", "id")[:size])
