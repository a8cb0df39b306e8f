"""Call logs on support staff's desk: found by request id, with what refused or failed. Full texts are not for staff."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from core.staff import StaffAdmin
from inference.models import CallLog, LogPolicy


@admin.register(CallLog)
class CallLogAdmin(StaffAdmin):
    """Requests of every tenant."""

    list_display = (
        "started_at",
        "request_id",
        "tenant",
        "model",
        "outcome",
        "status",
        "error_code",
        "duration_ms",
    )
    list_select_related = ("tenant",)
    list_filter = ("outcome",)
    search_fields = ("=request_id", "=trace_id")
    search_help_text = _("Request id, trace id or id (log_…)")
    ordering = ("-id",)  # by an index, for all tenants at once
    fields = (
        *(
            "shown_id",
            "tenant",
            "request_id",
            "trace_id",
            "key_id",
            "user_id",
            "address",
            "user_agent",
            "route",
        ),
        *("model", "version_id", "deployment_id", "replica", "stream", "parameters", "outcome", "status"),
        *("error_code", "limit_name", "finish_reason", "verdicts", "prompt_summary", "response_summary"),
        *(
            "prompt_chars",
            "response_chars",
            "prompt_tokens",
            "cached_tokens",
            "completion_tokens",
            "queue_ms",
        ),
        *("first_token_ms", "duration_ms", "charge_nano", "currency", "end_user", "tags", "has_text"),
        *("started_at", "finished_at"),
    )


@admin.register(LogPolicy)
class LogPolicyAdmin(StaffAdmin):
    """What tenants want logged."""

    list_display = ("tenant", "level", "sample_percent", "retention_days", "changed")
    list_select_related = ("tenant",)
    list_filter = ("level",)
    search_fields = ("=tenant__slug",)
    search_help_text = _("Tenant or id (lgp_…)")
    ordering = ("-id",)
    fields = (
        "shown_id",
        "tenant",
        "level",
        "sample_percent",
        "retention_days",
        "kept_entities",
        "made",
        "changed",
    )
