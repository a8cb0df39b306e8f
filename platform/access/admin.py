"""API keys on support staff's desk: found by prefix, revoked with a reason, never shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from access import policies
from access.models import APIKey
from access.services import keys
from core import clock
from core.staff import StaffAdmin, actor_of


@admin.register(APIKey)
class APIKeyAdmin(StaffAdmin):
    """API keys of every tenant, without digests."""

    is_for_auditors = True
    list_display = ("name", "shown_prefix", "tenant", "shown_state", "expires_at", "last_used_at")
    list_select_related = ("tenant",)
    list_filter = (
        ("revoked_at", admin.EmptyFieldListFilter),
        ("expires_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("=prefix", "name", "=tenant__slug")
    search_help_text = _("Prefix of the key, name, tenant or id (key_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "name", "shown_prefix", "shown_state", "scopes", "allowed_models"),
        *("allowed_networks", "expires_at", "revoked_at", "last_used_at", "rotated_to", "created_by"),
        *("made", "changed"),
    )
    actions = ("revoke",)

    @admin.display(description=_("prefix"), ordering="prefix")
    def shown_prefix(self, key: APIKey) -> str:
        """As people see it."""
        return f"atr-{key.prefix}-…"

    @admin.display(description=_("state"))
    def shown_state(self, key: APIKey) -> str:
        """How it stands now."""
        return str(key.state(clock.now()).label)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A key that was pasted, whole or in part, is searched by its prefix alone."""
        if search_term.startswith("atr-"):
            search_term = search_term.removeprefix("atr-").partition("-")[0]
        return super().get_search_results(request, queryset, search_term)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """As the table of permissions has it."""
        return policies.can(actor_of(request), "access.key.revoke")

    @admin.action(description=_("Revoke"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """End keys for good, within a second everywhere."""
        self.apply(
            request, queryset, lambda key, actor, reason: keys.revoke(key=key, actor=actor, reason=reason)
        )
