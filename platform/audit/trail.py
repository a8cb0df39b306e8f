"""Reads of the chains, in the caller's scope: links in order, heads, and events that no link seals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from audit.links import COLUMNS, sealed_fields, stamp
from audit.models import AuditChain, AuditPending, AuditSeal
from audit.proof.verify import GENESIS, MOST_FINDINGS, Link
from core import clock

PAGE = 2_000

_LINKS = (
    "SELECT s.sequence, s.sealed_at, s.event_id, s.event_digest, s.hash, s.form, "  # noqa: S608  (names of ours)
    + ", ".join(f"e.{name}" for name in COLUMNS)
    + " FROM audit_auditseal s LEFT JOIN audit_auditevent e ON e.id = s.event_id"
    " WHERE s.tenant_id {owner} AND s.sequence > %s AND s.sequence <= %s ORDER BY s.sequence"
)
# Those that nobody noted came past the trigger, and will never be sealed.
_WITHOUT_SEAL = (
    "SELECT e.id, p.id IS NOT NULL FROM audit_auditevent e LEFT JOIN audit_auditseal s ON s.event_id = e.id"
    " LEFT JOIN audit_auditpending p ON p.id = e.id WHERE e.tenant_id {owner} AND s.id IS NULL"
    " AND (p.id IS NULL OR p.noted_at < %s) ORDER BY e.id LIMIT %s"
)
_LOST = (
    "SELECT p.id FROM audit_auditpending p LEFT JOIN audit_auditevent e ON e.id = p.id"
    " WHERE p.tenant_id {owner} AND e.id IS NULL ORDER BY p.id LIMIT %s"
)
_TWICE = (
    "SELECT event_id, max(sequence) FROM audit_auditseal s WHERE s.tenant_id {owner}"
    " GROUP BY event_id HAVING count(*) > 1 ORDER BY 2 LIMIT %s"
)


class Loose(NamedTuple):
    """Events that hang on no link as they should."""

    inserted: list[UUID]  # in the table past the platform
    unsealed: list[UUID]  # noted, and waiting too long
    lost: list[UUID]  # noted, and gone before they were sealed
    twice: list[tuple[UUID, int]]  # with two links


def chains() -> list[UUID | None]:
    """The owners of all chains in scope, the platform's own (None) first."""
    owners = {each for (each,) in AuditChain.objects.values_list("tenant_id")}
    owners |= {each for (each,) in AuditPending.objects.values_list("tenant_id").distinct()}
    return sorted(owners, key=lambda owner: (owner is not None, str(owner)))


def chain(*, tenant_id: UUID | None) -> AuditChain:
    """The head of one chain in scope; one without links where nothing was sealed yet."""
    return AuditChain.objects.filter(tenant_id=tenant_id).first() or AuditChain(
        tenant_id=tenant_id, hash=GENESIS
    )


def links(*, tenant_id: UUID | None, after: int = 0, through: int = 2**62) -> Iterator[Link]:
    """The links of one chain with their events, in order, in constant memory: a server-side cursor.

    The caller holds the scope for as long as it reads.
    """
    sql, parameters = _owned(_LINKS, tenant_id)
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, [*parameters, after, through])
        while rows := cursor.fetchmany(PAGE):
            yield from map(_link, rows)


def page_of_links(*, tenant_id: UUID | None, after: int, through: int) -> list[Link]:
    """The next PAGE links behind `after`, at most through `through`."""
    sql, parameters = _owned(_LINKS, tenant_id)
    with connection.cursor() as cursor:
        cursor.execute(sql + " LIMIT %s", [*parameters, after, through, PAGE])
        return [_link(row) for row in cursor.fetchall()]


def _link(row: tuple[Any, ...]) -> Link:
    sequence, sealed_at, event_id, digest, hash_, form, *event = row
    fields = sealed_fields(tuple(event), form) if event[0] is not None else None
    return Link(sequence, stamp(sealed_at), str(event_id), digest, hash_, fields)


def loose(*, tenant_id: UUID | None) -> Loose:
    """What no link holds, at most MOST_FINDINGS of each kind. Four statements, each over the whole trail."""
    overdue = clock.now() - timedelta(seconds=settings.AUDIT_UNSEALED_S)
    without = _rows(_WITHOUT_SEAL, tenant_id, overdue, MOST_FINDINGS)
    return Loose(
        inserted=[event for event, is_noted in without if not is_noted],
        unsealed=[event for event, is_noted in without if is_noted],
        lost=[event for (event,) in _rows(_LOST, tenant_id, MOST_FINDINGS)],
        twice=_rows(_TWICE, tenant_id, MOST_FINDINGS),
    )


def overdue_link(*, tenant_id: UUID | None, signed_through: int) -> int | None:
    """The first link that no checkpoint covers, when it is older than it may be."""
    overdue = clock.now() - timedelta(seconds=settings.AUDIT_UNSEALED_S)
    found = AuditSeal.objects.filter(tenant_id=tenant_id, sequence__gt=signed_through)
    first = found.order_by("sequence").first()
    return first.sequence if first is not None and first.sealed_at < overdue else None


def waiting(*, tenant_id: UUID | None) -> int:
    """How many events of one chain are not sealed yet."""
    return AuditPending.objects.filter(tenant_id=tenant_id).count()


def oldest_waiting() -> datetime | None:
    """Since when the longest waiting event of all chains in scope waits."""
    first = AuditPending.objects.order_by("noted_at").first()
    return first.noted_at if first is not None else None


def _rows(sql: str, tenant_id: UUID | None, *rest: Any) -> list[Any]:
    owned, parameters = _owned(sql, tenant_id)
    with connection.cursor() as cursor:
        cursor.execute(owned, [*parameters, *rest])
        return list(cursor.fetchall())


def _owned(sql: str, tenant_id: UUID | None) -> tuple[str, list[Any]]:
    """The statement for one chain: an index serves `= %s` and `IS NULL`, and not what covers both."""
    return (sql.format(owner="IS NULL"), []) if tenant_id is None else (sql.format(owner="= %s"), [tenant_id])
