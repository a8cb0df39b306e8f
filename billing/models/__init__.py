"""The tables of money: usage, prices, ledger, payments, budgets, invoices, reconciliation."""

from billing.models.budgets import BillingEvent, Budget, BudgetAlert, BudgetScope
from billing.models.counters import UsageCounter
from billing.models.invoices import Component, Invoice, InvoiceLine, InvoiceSeries, InvoiceState, LineKind
from billing.models.ledger import (
    Account,
    AccountKind,
    EpochState,
    EscrowEpoch,
    LedgerEntry,
    LedgerTransaction,
    TransactionKind,
)
from billing.models.payments import Correction, CorrectionState, Payment, PaymentState
from billing.models.prices import Price, PricePlan, PricePlanVersion, PriceSubscription
from billing.models.reconciliation import (
    Cause,
    Check,
    EngineTotal,
    Reconciliation,
    ReconciliationDifference,
    ReconciliationState,
)
from billing.models.rollups import Grain, TagRollup, UsageRollup
from billing.models.usage import Outcome, UsageRecord

__all__ = [
    "Account",
    "AccountKind",
    "BillingEvent",
    "Budget",
    "BudgetAlert",
    "BudgetScope",
    "Cause",
    "Check",
    "Component",
    "Correction",
    "CorrectionState",
    "EngineTotal",
    "EpochState",
    "EscrowEpoch",
    "Grain",
    "Invoice",
    "InvoiceLine",
    "InvoiceSeries",
    "InvoiceState",
    "LedgerEntry",
    "LedgerTransaction",
    "LineKind",
    "Outcome",
    "Payment",
    "PaymentState",
    "Price",
    "PricePlan",
    "PricePlanVersion",
    "PriceSubscription",
    "Reconciliation",
    "ReconciliationDifference",
    "ReconciliationState",
    "TagRollup",
    "TransactionKind",
    "UsageCounter",
    "UsageRecord",
    "UsageRollup",
]
