"""The URL map of everything that Django itself serves; `/v1` and health are dispatched before it (config/asgi.py)."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from django.views.i18n import JavaScriptCatalog

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="console:home"), name="root"),
    path("console/", include("console.urls")),
    path("console/", include("tenants.pages.urls")),
    path("console/", include("billing.pages.urls")),
    path("console/", include("inference.pages.urls")),
    path("api/", include("config.api")),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("i18n/catalogue.js", JavaScriptCatalog.as_view(), name="javascript-catalog"),
]

# Problems under /api/, pages elsewhere.
handler400 = "api.views.bad_request"
handler403 = "api.views.permission_denied"
handler500 = "api.views.server_error"
