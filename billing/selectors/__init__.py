"""Reads of this app: usage and its sums, budgets, invoices, the ledger's side of a reconciliation."""

from billing.selectors.sums import MAX_GROUPS, MAX_SUMMARY_DAYS, UsageSummary, UsageTotals, usage_summary
from billing.selectors.usage import usage_record_by_public_id, usage_records

__all__ = [
    "MAX_GROUPS",
    "MAX_SUMMARY_DAYS",
    "UsageSummary",
    "UsageTotals",
    "usage_record_by_public_id",
    "usage_records",
    "usage_summary",
]
