"""Reads of this app: usage and its sums, budgets, invoices, the ledger's side of a reconciliation."""

from billing.selectors.usage import (
    MAX_GROUPS,
    MAX_SUMMARY_DAYS,
    UsageSummary,
    UsageTotals,
    usage_record_by_public_id,
    usage_records,
    usage_summary,
)

__all__ = [
    "MAX_GROUPS",
    "MAX_SUMMARY_DAYS",
    "UsageSummary",
    "UsageTotals",
    "usage_record_by_public_id",
    "usage_records",
    "usage_summary",
]
