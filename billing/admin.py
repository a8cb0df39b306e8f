"""Usage on support staff's desk: what one request used, found by its id."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from billing.models import UsageRecord
from core.staff import StaffAdmin


@admin.register(UsageRecord)
class UsageRecordAdmin(StaffAdmin):
    """Requests of every tenant, newest first. Holds no prompt and no answer."""

    list_display = (
        *("finished_at", "request_id", "tenant", "model", "outcome", "prompt_tokens", "completion_tokens"),
        *("queue_ms", "first_token_ms", "duration_ms"),
    )
    list_select_related = ("tenant",)
    list_filter = ("outcome", "stream")
    search_fields = ("=request_id", "=tenant__slug", "=model")
    search_help_text = _("Request id, tenant, model or id (use_…)")
    ordering = ("-finished_at", "-id")
    fields = (
        *("shown_id", "tenant", "request_id", "key_id", "user_id", "model", "version_id", "deployment_id"),
        *("replica", "route", "stream", "prompt_tokens", "cached_tokens", "completion_tokens", "queue_ms"),
        *("first_token_ms", "duration_ms", "outcome", "error_code", "end_user", "started_at", "finished_at"),
    )
