"""Tenants and members on support staff's desk: looked up, suspended and resumed, given another role."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from access import policies
from core.staff import StaffAdmin, actor_of
from tenants.models import Erasure, Limit, Membership, Plan, RetentionRun, Role, Tenant, TenantExport
from tenants.services import limits, members, tenants


@admin.register(Tenant)
class TenantAdmin(StaffAdmin):
    """Every tenant."""

    is_for_auditors = True
    list_display = ("name", "slug", "status", "plan", "made")
    list_select_related = ("plan",)
    list_filter = ("status", "plan")
    search_fields = ("=slug", "name")
    search_help_text = _("Short name, name or id (ten_…)")
    ordering = ("slug",)
    fields = ("shown_id", "slug", "name", "status", "plan", "made", "changed")
    actions = ("suspend", "resume")

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "tenants.tenant.suspend")

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "tenants.tenant.resume")

    @admin.action(description=_("Suspend"), permissions=["suspend"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Stop all traffic of tenants, within a second everywhere."""
        self.apply(
            request,
            queryset,
            lambda tenant, actor, reason: tenants.suspend(tenant=tenant, actor=actor, reason=reason),
        )

    @admin.action(description=_("Resume"), permissions=["resume"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Serve suspended tenants again."""
        self.apply(
            request,
            queryset,
            lambda tenant, actor, reason: tenants.resume(tenant=tenant, actor=actor, reason=reason),
        )


@admin.register(Membership)
class MembershipAdmin(StaffAdmin):
    """Members of every tenant."""

    is_for_auditors = True
    list_display = ("user", "tenant", "role", "made")
    list_select_related = ("user", "tenant")
    list_filter = ("role",)
    search_fields = ("user__email", "=tenant__slug")
    search_help_text = _("E-mail address, tenant or id (mem_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "user", "role", "made", "changed")

    def has_change_role_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "tenants.member.change")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """One action per role: which it becomes is chosen with the action, why is typed beside it."""
        actions: dict[str, Any] = super().get_actions(request)
        if self.has_change_role_permission(request):
            for role in Role:
                description = _("Make %(role)s") % {"role": role.label}
                actions[f"make_{role.value}"] = (_changes_to(role.value), f"make_{role.value}", description)
        return actions


@admin.register(Plan)
class PlanAdmin(StaffAdmin):
    """Every plan."""

    is_for_auditors = True
    list_display = ("name", "slug", "weight", "band", "queue_limit", "allow_priority")
    search_fields = ("=slug", "name")
    search_help_text = _("Short name, name or id (pln_…)")
    ordering = ("slug",)
    fields = (
        "shown_id",
        "slug",
        "name",
        "weight",
        "band",
        "queue_limit",
        "allow_priority",
        "made",
        "changed",
    )


@admin.register(Limit)
class LimitAdmin(StaffAdmin):
    """Limits of every tenant."""

    is_for_auditors = True
    list_display = ("kind", "value", "tenant", "key", "model", "owner", "is_enabled")
    list_select_related = ("tenant", "key")
    list_filter = ("kind", "owner", "is_enabled")
    search_fields = ("=tenant__slug", "=model")
    search_help_text = _("Tenant, model or id (lim_…)")
    ordering = ("-id",)
    fields = (
        "shown_id",
        "tenant",
        "owner",
        "kind",
        "value",
        "key",
        "model",
        "is_enabled",
        "made",
        "changed",
    )
    actions = ("enable", "disable")

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "tenants.limit.change_platform")

    @admin.action(description=_("Enable"), permissions=["switch"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Let limits count, within a second everywhere."""
        self._switch(request, queryset, is_enabled=True)

    @admin.action(description=_("Disable"), permissions=["switch"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Let limits no longer count."""
        self._switch(request, queryset, is_enabled=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Any], *, is_enabled: bool) -> None:
        self.apply(
            request,
            queryset,
            lambda limit, actor, reason: limits.change(
                limit=limit, actor=actor, reason=reason, is_enabled=is_enabled
            ),
        )


def _changes_to(role: str) -> Any:
    """The action that gives chosen members `role`."""

    def change(page: MembershipAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        page.apply(
            request,
            queryset,
            lambda member, actor, reason: members.change_role(
                membership=member, role=role, actor=actor, reason=reason
            ),
        )

    return change


@admin.register(TenantExport)
class TenantExportAdmin(StaffAdmin):
    """Exports of every tenant."""

    list_display = ("shown_id", "tenant", "state", "size_bytes", "made")
    list_select_related = ("tenant",)
    list_filter = ("state",)
    search_fields = ("=tenant__slug",)
    search_help_text = _("Tenant or id (exp_…)")
    ordering = ("-id",)
    fields = (
        *(
            "shown_id",
            "tenant",
            "state",
            "steps_done",
            "steps",
            "rows",
            "size_bytes",
            "sha256",
            "requested_by",
        ),
        *("made", "finished_at", "expires_at"),
    )


@admin.register(Erasure)
class ErasureAdmin(StaffAdmin):
    """Erasures and their certificates."""

    list_display = ("shown_id", "tenant", "kind", "state", "made", "finished_at")
    list_select_related = ("tenant",)
    list_filter = ("kind", "state")
    search_fields = ("=tenant__slug", "=subject_digest")
    search_help_text = _("Tenant, digest or id (era_…)")
    ordering = ("-id",)
    fields = (
        *(
            "shown_id",
            "tenant",
            "kind",
            "state",
            "subject_digest",
            "reason",
            "requested_by",
            "removed",
            "kept",
        ),
        *("made", "begun_at", "finished_at", "digest", "signature"),
    )


@admin.register(RetentionRun)
class RetentionRunAdmin(StaffAdmin):
    """What retention removed."""

    list_display = ("data_class", "is_dry_run", "removed", "begun_at", "ran_by")
    list_filter = ("data_class", "is_dry_run")
    ordering = ("-id",)
    fields = (
        *("shown_id", "data_class", "is_dry_run", "removed", "details", "digest", "ran_by", "begun_at"),
        "finished_at",
    )
