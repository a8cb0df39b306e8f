"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from uuid import UUID

from django.utils.translation import gettext_lazy as _

from audit.models import AuditEvent
from audit.services.erasure import erase_events
from core.actors import system
from core.governance import Counts, DataClass, register


def end_trail(tenant_id: UUID) -> Counts:
    """Erase the events of a closed tenant, with a signed record that says so."""
    gone = erase_events(tenant_id=tenant_id, actor=system("erasure"), reason="the tenant was closed")
    return {AuditEvent._meta.db_table: gone}


def declare() -> None:
    """Put them into the catalogue."""
    register(
        DataClass(
            name="audit_trail",
            title=_("Audit trail"),
            holds=_("Who did what to which object, from where and why. No prompt, no answer, no secret."),
            retained=_("Until the tenant is closed; never by age: a trail that loses rows proves nothing."),
            models=("audit.AuditEvent", "audit.AuditPending"),
            erase_last=end_trail,
        ),
        DataClass(
            name="audit_seals",
            title=_("Seals of the audit trail"),
            holds=_("Digests that link the events of the trail, and signed checkpoints of them. No text."),
            retained=_("For good: they are the proof."),
            models=("audit.AuditSeal", "audit.AuditChain"),
            files=("ATRIUM_AUDIT_DIR/<tenant>.jsonl",),
            kept=_("They prove that the trail was whole until it was erased; they hold digests and no text."),
        ),
    )
