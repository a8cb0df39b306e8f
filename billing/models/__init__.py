"""The tables of money: usage, prices, ledger, invoices."""

from billing.models.budgets import BillingEvent, Budget, BudgetAlert, BudgetScope
from billing.models.invoices import Component, Invoice, InvoiceLine, InvoiceSeries, InvoiceState, LineKind
from billing.models.reconciliation import (
    Check,
    EngineTotal,
    Reconciliation,
    ReconciliationDifference,
    ReconciliationState,
)
from billing.models.rollups import Grain, TagRollup, UsageRollup
from billing.models.usage import Outcome, UsageRecord

__all__ = [
    "BillingEvent",
    "Budget",
    "BudgetAlert",
    "BudgetScope",
    "Check",
    "Component",
    "EngineTotal",
    "Grain",
    "Invoice",
    "InvoiceLine",
    "InvoiceSeries",
    "InvoiceState",
    "LineKind",
    "Outcome",
    "Reconciliation",
    "ReconciliationDifference",
    "ReconciliationState",
    "TagRollup",
    "UsageRecord",
    "UsageRollup",
]
