"""The routes of usage."""

from __future__ import annotations

from api.routers import Router
from billing.api import views

router = Router()
router.register("usage", views.UsageViewSet, basename="usage")
