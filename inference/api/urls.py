"""The routes of deployments, queues, limits and nodes."""

from __future__ import annotations

from api.routers import Router
from inference.api import call_logs, limits, views

router = Router()
router.register("deployments", views.DeploymentViewSet, basename="deployment")
router.register("queues", views.QueueViewSet, basename="queue")
router.register("limits", limits.LimitViewSet, basename="limit")
router.register("call-logs", call_logs.CallLogViewSet, basename="call-log")
router.register("log-policy", call_logs.LogPolicyViewSet, basename="log-policy")
router.register("nodes", views.NodeViewSet, basename="node")
