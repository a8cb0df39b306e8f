"""The routes of usage."""

from __future__ import annotations

from api.routers import Router
from billing.api import centre, views

router = Router()
router.register("usage", views.UsageViewSet, basename="usage")
router.register("costs", centre.CostViewSet, basename="cost")
router.register("budgets", centre.BudgetViewSet, basename="budget")
router.register("billing-events", centre.BillingEventViewSet, basename="billing-event")
router.register("invoices", centre.InvoiceViewSet, basename="invoice")
router.register("reconciliations", centre.ReconciliationViewSet, basename="reconciliation")
