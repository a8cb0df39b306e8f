"""The audit trail on support staff's desk: to read, nothing else."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from audit.models import AuditEvent
from core.staff import StaffAdmin


@admin.register(AuditEvent)
class AuditEventAdmin(StaffAdmin):
    """Events of every tenant and of the platform, newest first."""

    list_display = ("occurred_at", "action", "actor_label", "target_label", "tenant", "reason")
    list_select_related = ("tenant",)
    list_filter = ("actor_kind",)
    search_fields = (
        *("=request_id", "=target_id", "=tenant__slug", "action__startswith", "actor_label__startswith"),
    )
    search_help_text = _("Request id, object's id, tenant, action, or who did it")
    ordering = ("-id",)
    fields = (
        *("shown_id", "occurred_at", "tenant", "action", "actor_kind", "actor_label", "actor_id"),
        *("actor_role", "address", "target_type", "target_id", "target_label", "reason"),
        *("before", "after", "request_id"),
    )
