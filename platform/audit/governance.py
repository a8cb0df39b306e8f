"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from core.governance import DataClass, register


def declare() -> None:
    """Put them into the catalogue."""
    register(
        DataClass(
            name="audit_trail",
            title=_("Audit trail"),
            holds=_("Who did what to which object, from where and why. No prompt, no answer, no secret."),
            retained=_("For good: a trail that loses rows proves nothing."),
            models=("audit.AuditEvent",),
            kept=_("It proves who did what, the closing included; it is append-only and holds no content."),
        )
    )
