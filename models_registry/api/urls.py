"""The routes of the registry."""

from __future__ import annotations

from api.routers import Router
from models_registry.api import views

router = Router()
router.register("models", views.ModelViewSet, basename="model")
router.register("versions", views.VersionViewSet, basename="version")
router.register("aliases", views.AliasViewSet, basename="alias")
router.register("grants/tenants", views.TenantGrantViewSet, basename="tenant-grant")
router.register("grants/members", views.MemberGrantViewSet, basename="member-grant")
