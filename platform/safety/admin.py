"""Safety on support staff's desk: every rule, version, setting and count, and no text that anybody wrote."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from access import policies
from core.staff import StaffAdmin, actor_of
from safety.models import (
    Disclaimer,
    HitCount,
    OnFailure,
    Override,
    PlatformRule,
    PlatformRuleSetVersion,
    PlatformWordList,
    Review,
    Rule,
    RuleSetVersion,
    TenantSafety,
    WordList,
)
from safety.services import tenant_settings, versions

_RULE = (
    *("kind", "category", "severity", "is_enabled", "action_in", "action_out", "word_list", "terms"),
    *("whole_words", "pattern", "entity", "threshold", "replacement", "revision", "made", "changed"),
)
_VERSION = (
    *("number", "rule_count", "term_count", "note", "restores", "published_at", "published_by"),
    *("published_by_id", "digest"),
)


@admin.register(PlatformRule)
class PlatformRuleAdmin(StaffAdmin):
    """The draft of the platform's rules; changed through REST."""

    list_display = (
        "key",
        "shown_name",
        "kind",
        "category",
        "severity",
        "action_in",
        "action_out",
        "is_enabled",
    )
    list_filter = ("kind", "category", "severity", "is_enabled", "tenant_controlled")
    search_fields = ("=key", "name")
    search_help_text = _("Key, name or id (prl_…)")
    ordering = ("key",)
    list_select_related = ("word_list",)
    fields = (
        *("shown_id", "key", "shown_name", *_RULE),
        *("tenant_controlled", "loosest_in", "loosest_out", "is_builtin"),
    )

    @admin.display(description=_("name"), ordering="name")
    def shown_name(self, row: PlatformRule) -> str:
        """The name, translated where it is built in."""
        return row.shown_name


@admin.register(PlatformWordList)
class PlatformWordListAdmin(StaffAdmin):
    """The platform's word lists."""

    list_display = ("name", "category", "severity", "term_count", "changed")
    list_filter = ("severity",)
    search_fields = ("name",)
    search_help_text = _("Name or id (pwl_…)")
    ordering = ("name",)
    fields = ("shown_id", "name", "category", "severity", "term_count", "revision", "made", "changed")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the words."""
        return super().get_queryset(request).defer("content")


class _VersionAdmin(StaffAdmin):
    """Published versions; an operator may bring an older one back."""

    actions = ("roll_back",)
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the content."""
        return super().get_queryset(request).defer("content")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Only for whoever may."""
        allowed = policies.can(actor_of(request), "safety.platform.change")
        return super().get_actions(request) if allowed else {}

    @admin.action(description=_("Bring back this version"))
    def roll_back(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Publish the rules of an older version again."""
        self.apply(
            request,
            queryset,
            lambda row, actor, reason: versions.roll_back(version=row, actor=actor, reason=reason),
        )


@admin.register(PlatformRuleSetVersion)
class PlatformRuleSetVersionAdmin(_VersionAdmin):
    """Versions of the platform's rules."""

    list_display = ("number", "rule_count", "term_count", "note", "restores", "published_at", "published_by")
    search_fields = ("=number",)
    search_help_text = _("Version or id (psv_…)")
    fields = ("shown_id", *_VERSION, "controls")


@admin.register(RuleSetVersion)
class RuleSetVersionAdmin(_VersionAdmin):
    """Versions of tenants' rules."""

    list_display = ("tenant", "number", "rule_count", "term_count", "note", "published_at", "published_by")
    list_select_related = ("tenant",)
    search_fields = ("=tenant__slug",)
    search_help_text = _("Tenant or id (rsv_…)")
    fields = ("shown_id", "tenant", *_VERSION)


@admin.register(Rule)
class RuleAdmin(StaffAdmin):
    """Drafts of tenants' rules."""

    list_display = ("name", "tenant", "kind", "category", "severity", "action_in", "action_out", "is_enabled")
    list_select_related = ("tenant", "word_list")
    list_filter = ("kind", "severity", "is_enabled")
    search_fields = ("=tenant__slug", "name")
    search_help_text = _("Tenant, name or id (rul_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "name", *_RULE)


@admin.register(WordList)
class WordListAdmin(StaffAdmin):
    """Tenants' word lists, without their words."""

    list_display = ("name", "tenant", "category", "severity", "term_count", "changed")
    list_select_related = ("tenant",)
    search_fields = ("=tenant__slug", "name")
    search_help_text = _("Tenant, name or id (wdl_…)")
    ordering = ("-id",)
    fields = (
        "shown_id",
        "tenant",
        "name",
        "category",
        "severity",
        "term_count",
        "revision",
        "made",
        "changed",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the words."""
        return super().get_queryset(request).defer("content")


@admin.register(TenantSafety)
class TenantSafetyAdmin(StaffAdmin):
    """Tenants' settings; an operator may say what happens on failures."""

    list_display = ("tenant", "version", "on_failure", "language", "changed")
    list_select_related = ("tenant",)
    list_filter = ("on_failure",)
    search_fields = ("=tenant__slug",)
    search_help_text = _("Tenant or id (tsf_…)")
    ordering = ("-id",)
    actions = ("close_on_failure", "open_on_failure")
    fields = (
        *("shown_id", "tenant", "version", "draft_revision", "on_failure", "language", "refusal_message"),
        *("plants_canaries", "spotlights"),
        *("revision", "made", "changed"),
    )

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Only for whoever may."""
        allowed = policies.can(actor_of(request), "safety.failure.change")
        return super().get_actions(request) if allowed else {}

    @admin.action(description=_("Refuse requests while rules cannot be checked"))
    def close_on_failure(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Close the door on failures."""
        self._set(request, queryset, OnFailure.CLOSE)

    @admin.action(description=_("Let requests through while rules cannot be checked"))
    def open_on_failure(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Leave the door open on failures."""
        self._set(request, queryset, OnFailure.OPEN)

    def _set(self, request: HttpRequest, queryset: QuerySet[Any], on_failure: OnFailure) -> None:
        self.apply(
            request,
            queryset,
            lambda row, actor, reason: tenant_settings.set_on_failure(
                tenant_id=row.tenant_id, actor=actor, on_failure=on_failure.value, reason=reason
            ),
        )


@admin.register(Override)
class OverrideAdmin(StaffAdmin):
    """What tenants changed of the platform's rules."""

    list_display = ("rule", "tenant", "action_in", "action_out", "changed")
    list_select_related = ("tenant",)
    search_fields = ("=tenant__slug", "=rule")
    search_help_text = _("Tenant, rule or id (sov_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "rule", "action_in", "action_out", "revision", "made", "changed")


@admin.register(Disclaimer)
class DisclaimerAdmin(StaffAdmin):
    """Texts around answers."""

    list_display = ("tenant", "model", "changed")
    list_select_related = ("tenant",)
    search_fields = ("=tenant__slug", "=model")
    search_help_text = _("Tenant, model or id (dsc_…)")
    ordering = ("-id",)
    fields = ("shown_id", "tenant", "model", "prefix", "suffix", "revision", "made", "changed")


@admin.register(Review)
class ReviewAdmin(StaffAdmin):
    """Texts that wait for a tenant's people. Staff do not see the texts, and do not decide."""

    list_display = ("made", "tenant", "rule", "category", "direction", "state", "times_refused", "decided_by")
    list_select_related = ("tenant",)
    list_filter = ("state", "direction")
    search_fields = ("=tenant__slug", "=rule", "=request_id")
    search_help_text = _("Tenant, rule, request id or id (rvw_…)")
    ordering = ("-id",)
    fields = (
        *("shown_id", "tenant", "rule", "category", "direction", "state", "model", "request_id"),
        *("text_length", "is_cut", "times_refused", "decided_at", "decided_by", "reason", "made", "changed"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the texts."""
        return super().get_queryset(request).defer("text_cipher")


@admin.register(HitCount)
class HitCountAdmin(StaffAdmin):
    """How often what matched, by tenant and day."""

    list_display = ("day", "tenant", "rule", "version", "category", "action", "direction", "count")
    list_select_related = ("tenant",)
    list_filter = ("action", "direction")
    search_fields = ("=tenant__slug", "=rule", "=category")
    search_help_text = _("Tenant, rule, category or id (hit_…)")
    ordering = ("-day", "-id")
    fields = ("shown_id", "tenant", "day", "rule", "version", "category", "action", "direction", "count")
