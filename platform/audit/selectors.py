"""Reads of the audit trail, newest first. Whether the reader may is the caller's question
("audit.event.read")."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from audit.models import AuditEvent
from core.errors import NotFound
from core.ids import parse_public_id


def events(*, action: str = "", target_id: str = "", actor_id: UUID | None = None) -> QuerySet[AuditEvent]:
    """The events in scope: the active tenant's, or behind the platform door everybody's and the platform's
    own.

    `action` may be a whole action or its beginning with a dot at the end ("access.key.").
    """
    found = AuditEvent.objects.all()
    if action.endswith("."):
        found = found.filter(action__startswith=action)
    elif action:
        found = found.filter(action=action)
    if target_id:
        found = found.filter(target_id=target_id)
    if actor_id is not None:
        found = found.filter(actor_id=actor_id)
    return found


def event_by_public_id(*, public_id: str) -> AuditEvent:
    """One event in scope. Raises NotFound, for another tenant's too."""
    try:
        event = AuditEvent.objects.filter(pk=parse_public_id(public_id, AuditEvent.id_prefix)).first()
    except ValueError:
        event = None
    if event is None:
        raise NotFound(_("There is no such event."))
    return event
