"""Reads of usage and money. What is absent and what is another tenant's raise the same NotFound (L17)."""

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
