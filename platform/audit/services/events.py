"""Writes to the audit trail. Rows commit with the change that they describe, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from django.db import models, transaction

from audit.models import AuditEvent
from audit.redaction import clean, clean_text
from core.actors import Actor


def record(
    action: str,
    *,
    actor: Actor,
    target: models.Model | None = None,
    tenant_id: UUID | None = None,
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Write one event, in the caller's transaction: one INSERT.

    `action` is app.noun.verb in the past ("access.key.revoked"). Without `tenant_id` the target's own
    tenant is taken, and without that the event is the platform's. `before` and `after` hold the fields that
    changed; what looks like a secret is replaced on the way in. A tenant's event needs that tenant's scope
    or the platform's.
    """
    if tenant_id is None:
        tenant_id = getattr(target, "tenant_id", None)
    event = AuditEvent(
        tenant_id=tenant_id,
        action=action,
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=clean_text(actor.label, 254),
        actor_role=actor.role or actor.platform_role,
        address=actor.address[:64],
        target_type=f"{target._meta.app_label}.{target._meta.object_name}" if target is not None else "",
        target_id=_public_id(target),
        target_label=clean_text(str(target), 254) if target is not None else "",
        reason=clean_text(reason, 1000),
        before=clean(before),
        after=clean(after),
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", ""))[:100],
    )
    event.save(force_insert=True)
    return event


def record_platform_access(*, actor: Actor, reason: str, what: str) -> AuditEvent:
    """Write that staff opened the platform door, e.g. for `what` "GET /api/v1/tenants/".

    Call it before the door opens, outside the door's own transaction: the row must stay when the view fails.
    """
    with transaction.atomic():
        return record("audit.platform.accessed", actor=actor, reason=reason, after={"what": what})


def record_view(*, actor: Actor, row: models.Model, what: str) -> AuditEvent | None:
    """Write into a tenant's trail that staff looked at one of its objects through the platform door.

    `what` is e.g. "GET /api/v1/keys/…". Needs that door. Nothing is written of objects that are no tenant's: that
    the door was opened stands in the platform's trail.
    """
    is_tenant = row._meta.label == "tenants.Tenant"
    tenant_id = row.pk if is_tenant else getattr(row, "tenant_id", None)
    if tenant_id is None:
        return None
    return record(
        "audit.object.viewed", actor=actor, target=row, tenant_id=tenant_id, after={"what": what[:500]}
    )


def record_export(
    *, actor: Actor, tenant_id: UUID | None, what: str, query: Mapping[str, Any] | None = None
) -> AuditEvent:
    """Write that somebody took data away: `what`, e.g. "usage as csv", and how it was filtered.

    The tenant is whose data it is; none for those of several, which staff took. Whether the actor may is the caller's
    question.
    """
    after = {"what": what, "query": {name: str(value)[:200] for name, value in (query or {}).items()}}
    return record("audit.data.exported", actor=actor, tenant_id=tenant_id, after=after)


def _public_id(target: models.Model | None) -> str:
    if target is None or target.pk is None:
        return ""
    return str(getattr(target, "public_id", target.pk))
