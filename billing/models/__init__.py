"""The tables of money: usage, prices, ledger, payments and corrections."""

from billing.models.counters import UsageCounter
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
from billing.models.usage import Outcome, UsageRecord

__all__ = [
    "Account",
    "AccountKind",
    "Correction",
    "CorrectionState",
    "EpochState",
    "EscrowEpoch",
    "LedgerEntry",
    "LedgerTransaction",
    "Outcome",
    "Payment",
    "PaymentState",
    "Price",
    "PricePlan",
    "PricePlanVersion",
    "PriceSubscription",
    "TransactionKind",
    "UsageCounter",
    "UsageRecord",
]
