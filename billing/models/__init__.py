"""The tables of money: usage, prices, ledger, invoices."""

from billing.models.usage import Outcome, UsageRecord

__all__ = ["Outcome", "UsageRecord"]
