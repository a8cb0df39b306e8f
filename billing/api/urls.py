"""The app's REST routes."""

from __future__ import annotations

from api.routers import Router
from billing.api import centre, money_views, views

router = Router()
router.register("usage", views.UsageViewSet, basename="usage")
router.register("price-plans", money_views.PricePlanViewSet, basename="price-plan")
router.register("price-subscriptions", money_views.PriceSubscriptionViewSet, basename="price-subscription")
router.register("prices", money_views.PriceViewSet, basename="price")
router.register("wallet", money_views.WalletViewSet, basename="wallet")
router.register("ledger", money_views.LedgerViewSet, basename="ledger")
router.register("top-ups", money_views.TopUpViewSet, basename="top-up")
router.register("corrections", money_views.CorrectionViewSet, basename="correction")
router.register("costs", centre.CostViewSet, basename="cost")
router.register("budgets", centre.BudgetViewSet, basename="budget")
router.register("billing-events", centre.BillingEventViewSet, basename="billing-event")
router.register("invoices", centre.InvoiceViewSet, basename="invoice")
router.register("reconciliations", centre.ReconciliationViewSet, basename="reconciliation")
