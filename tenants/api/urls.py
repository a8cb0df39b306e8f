"""The routes of this app."""

from __future__ import annotations

from api.routers import Router
from tenants.api import audit, governance, views
from tenants.api.safety import platform as safety_platform
from tenants.api.safety import views as safety

router = Router()
router.register("me", views.MeViewSet, basename="me")
router.register("tenants", views.TenantViewSet, basename="tenant")
router.register("plans", views.PlanViewSet, basename="plan")
router.register("members", views.MemberViewSet, basename="member")
router.register("keys", views.KeyViewSet, basename="key")
# The longer paths first: below "safety" there are no ids.
router.register("safety/platform/rules", safety_platform.PlatformRuleViewSet, basename="safety-platform-rule")
router.register(
    "safety/platform/word-lists",
    safety_platform.PlatformWordListViewSet,
    basename="safety-platform-word-list",
)
router.register(
    "safety/platform/versions", safety_platform.PlatformVersionViewSet, basename="safety-platform-version"
)
router.register("safety/platform", safety_platform.PlatformSafetyViewSet, basename="safety-platform")
router.register("safety/rules", safety.RuleViewSet, basename="safety-rule")
router.register("safety/word-lists", safety.WordListViewSet, basename="safety-word-list")
router.register("safety/versions", safety.VersionViewSet, basename="safety-version")
router.register("safety/overrides", safety.OverrideViewSet, basename="safety-override")
router.register("safety/disclaimers", safety.DisclaimerViewSet, basename="safety-disclaimer")
router.register("safety/reviews", safety.ReviewViewSet, basename="safety-review")
router.register("safety/hits", safety.HitViewSet, basename="safety-hit")
router.register("safety", safety.SafetyViewSet, basename="safety")
router.register("audit-events", audit.AuditEventViewSet, basename="audit-event")
router.register("audit", audit.AuditTrailViewSet, basename="audit")
router.register("data-classes", governance.DataClassViewSet, basename="data-class")
router.register("retention-runs", governance.RetentionViewSet, basename="retention-run")
router.register("exports", governance.ExportViewSet, basename="export")
router.register("erasures", governance.ErasureViewSet, basename="erasure")
