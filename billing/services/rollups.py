"""Roll-ups of usage, made anew from the records. Day by day they are kept by PostgreSQL itself (docs/adr/0017)."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from django.db import connection, transaction

from billing.periods import span_of
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant


@transaction.atomic
def rebuild(*, tenant_id: UUID, month: date) -> None:
    """Make one tenant's roll-ups of a month anew. Writers of the tenant's usage wait until it has committed.

    About 20 s for ten million records. Idempotent.
    """
    begin, end = span_of(month)
    with tenant_scope(tenant_id), connection.cursor() as cursor:
        cursor.execute("SELECT billing_rebuild_rollups(%s, %s, %s)", [tenant_id, begin, end])


def rebuild_all(*, month: date) -> int:
    """The same for every tenant, one after the other; returns how many."""
    with platform_scope("rollups.rebuild_all"):
        tenants = list(Tenant.objects.order_by("pk").values_list("pk", flat=True))
    for tenant_id in tenants:
        rebuild(tenant_id=tenant_id, month=month)
    return len(tenants)
