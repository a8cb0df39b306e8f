"""The routes of this app."""

from __future__ import annotations

from api.routers import Router
from tenants.api import audit, views

router = Router()
router.register("me", views.MeViewSet, basename="me")
router.register("tenants", views.TenantViewSet, basename="tenant")
router.register("plans", views.PlanViewSet, basename="plan")
router.register("members", views.MemberViewSet, basename="member")
router.register("keys", views.KeyViewSet, basename="key")
router.register("audit-events", audit.AuditEventViewSet, basename="audit-event")
router.register("audit", audit.AuditTrailViewSet, basename="audit")
