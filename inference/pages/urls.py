"""Pages of requests, under /console/."""

from __future__ import annotations

from django.urls import path

from inference.pages import logs

app_name = "calls"
urlpatterns = [
    path("logs/", logs.index, name="logs"),
    path("logs/<str:log_id>/", logs.detail, name="log"),
    path("logs/<str:log_id>/text/", logs.text, name="log-text"),
]
