"""The map of /api/: every app's routes under /api/v1/, the schema, its page, and a problem for the rest."""

from __future__ import annotations

from django.urls import include, path, re_path

from api import views
from api.routers import Router
from billing.api.urls import router as billing_routes
from inference.api.urls import router as inference_routes
from models_registry.api.urls import router as registry_routes
from tenants.api.urls import router as tenant_routes

router = Router()
for routes in (tenant_routes, registry_routes, inference_routes, billing_routes):
    router.join(routes)

urlpatterns = [
    path("v1/", include((router.urls, "api"))),
    path("schema/", views.schema, name="api-schema"),
    path("docs/", views.docs, name="api-docs"),
    re_path(r"^(?P<path>.*)$", views.nowhere),
]
