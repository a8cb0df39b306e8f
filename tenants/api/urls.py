"""The routes of this app."""

from __future__ import annotations

from api.routers import Router
from tenants.api import governance, views

router = Router()
router.register("me", views.MeViewSet, basename="me")
router.register("tenants", views.TenantViewSet, basename="tenant")
router.register("plans", views.PlanViewSet, basename="plan")
router.register("members", views.MemberViewSet, basename="member")
router.register("keys", views.KeyViewSet, basename="key")
router.register("data-classes", governance.DataClassViewSet, basename="data-class")
router.register("retention-runs", governance.RetentionViewSet, basename="retention-run")
router.register("exports", governance.ExportViewSet, basename="export")
router.register("erasures", governance.ErasureViewSet, basename="erasure")
router.register("audit-events", views.AuditEventViewSet, basename="audit-event")
