"""Tenants and members on support staff's desk: looked up, suspended and resumed, given another role."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from access import policies
from core.staff import StaffAdmin, actor_of
from tenants.models import Membership, Role, Tenant
from tenants.services import members, tenants


@admin.register(Tenant)
class TenantAdmin(StaffAdmin):
    """Every tenant."""

    list_display = ("name", "slug", "status", "made")
    list_filter = ("status",)
    search_fields = ("=slug", "name")
    search_help_text = _("Short name, name or id (ten_…)")
    ordering = ("slug",)
    fields = ("shown_id", "slug", "name", "status", "made", "changed")
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
