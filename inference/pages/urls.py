"""Pages of requests, under /console/."""

from __future__ import annotations

from django.urls import path

from inference.pages import engines, limits, logs, models, overview, settings

app_name = "calls"
urlpatterns = [
    path("models/", models.index, name="models"),
    path("platform/engines/", engines.index, name="engines"),
    path("platform/engines/<str:deployment_id>/<str:what>/", engines.change, name="engine-change"),
    path("overview/", overview.index, name="overview"),
    path("limits/", limits.index, name="limits"),
    path("limits/<str:limit_id>/remove/", limits.remove, name="limit-remove"),
    path("logs/", logs.index, name="logs"),
    path("logs/<str:log_id>/", logs.detail, name="log"),
    path("logs/<str:log_id>/text/", logs.text, name="log-text"),
    path("settings/", settings.index, name="settings"),
    path("settings/name/", settings.rename, name="tenant-name"),
    path("settings/log-policy/", settings.policy, name="log-policy"),
    path("settings/export/", settings.export, name="export"),
    path("settings/exports/", settings.export_states, name="export-states"),
]
