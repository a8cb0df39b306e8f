"""Accounts on support staff's desk: found by address, read-only but for letting people in or not."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.services import users
from core.staff import StaffAdmin, actor_of


@admin.register(User)
class UserAdmin(StaffAdmin):
    """People. Passwords and permissions are not shown."""

    is_for_auditors = True
    list_display = ("email", "name", "platform_role", "is_active", "last_login", "made")
    list_filter = ("platform_role", "is_active", "language")
    search_fields = ("email", "name")
    search_help_text = _("E-mail address, name or id (usr_…)")
    ordering = ("email",)
    fields = (
        *("shown_id", "email", "name", "language", "platform_role", "is_active"),
        *("last_login", "made", "changed"),
    )
    actions = ("activate", "deactivate")

    def has_activate_permission(self, request: HttpRequest) -> bool:
        """Operators."""
        return actor_of(request).is_operator

    @admin.action(description=_("Let sign in again"), permissions=["activate"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Let people sign in again."""
        self.apply(
            request,
            queryset,
            lambda user, actor, reason: users.set_active(
                user=user, actor=actor, is_active=True, reason=reason
            ),
        )

    @admin.action(description=_("Lock out"), permissions=["activate"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Let people sign in no more, at once."""
        self.apply(
            request,
            queryset,
            lambda user, actor, reason: users.set_active(
                user=user, actor=actor, is_active=False, reason=reason
            ),
        )
