"""The audit trail on support staff's desk: to read, nothing else."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from audit import words
from audit.models import AuditEvent
from audit.services import verification
from core.staff import StaffAdmin, actor_of


@admin.register(AuditEvent)
class AuditEventAdmin(StaffAdmin):
    """Events of every tenant and of the platform, newest first."""

    is_for_auditors = True
    list_display = ("occurred_at", "action", "actor_label", "target_label", "tenant", "reason")
    list_select_related = ("tenant",)
    list_filter = ("actor_kind",)
    search_fields = (
        *("=request_id", "=target_id", "=tenant__slug", "action__startswith", "actor_label__startswith"),
    )
    search_help_text = _("Request id, object's id, tenant, action, or who did it")
    ordering = ("-id",)
    actions = ("verify",)
    fields = (
        *("shown_id", "occurred_at", "tenant", "action", "actor_kind", "actor_label", "actor_id"),
        *("actor_role", "address", "target_type", "target_id", "target_label", "reason"),
        *("before", "after", "request_id"),
    )

    def has_verify_permission(self, request: HttpRequest) -> bool:
        """Whoever sees the trail may ask whether it is whole."""
        return self.has_view_permission(request)

    @admin.action(description=_("Verify their trails"), permissions=["verify"])
    def verify(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Verify the chains that the chosen events are in, and name what is wrong. Needs no reason: it only reads."""
        owners = sorted(
            {owner for (owner,) in queryset.order_by().values_list("tenant_id").distinct()},
            key=lambda owner: (owner is not None, str(owner)),
        )
        found = verification.verify_several(actor=actor_of(request), owners=owners)
        for each in found.chains:
            report = each.report
            told = gettext("%(chain)s: signed and sound through link %(good)d of %(last)d.")
            level = messages.SUCCESS if report.is_whole else messages.ERROR
            values = {"chain": each.chain, "good": report.last_good_sequence, "last": report.last_sequence}
            self.message_user(request, told % values, level)
            for problem in report.problems[:10]:
                place = f"{problem.sequence or ''} {words.event_of(problem)}".strip()
                self.message_user(request, f"{place}: {words.sentence(problem)}", messages.ERROR)
        if not found.is_complete:
            told = gettext("Not all was looked at; manage.py audit_verify does.")
            self.message_user(request, told, messages.WARNING)
