"""The ledger's side of invoices and reconciliation: what was booked as revenue, and by which prices.

A thin surface on purpose: everything else of the billing centre stands on usage records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Sum

from billing.models import LedgerEntry, Price


@dataclass(frozen=True, slots=True)
class Correction:
    """What a correction adds to what a tenant owes; below zero: in the tenant's favour."""

    id: UUID
    booked_at: datetime
    currency: str
    nano: int
    reason: str


@dataclass(frozen=True, slots=True)
class Rates:
    """What one price asks, in nano-units: tokens per million, calls each, GPU per second, slots per hour."""

    input_nano: int = 0
    cached_nano: int = 0
    output_nano: int = 0
    call_nano: int = 0
    gpu_second_nano: int = 0
    slot_hour_nano: int = 0


def ledger_revenue_nano(*, tenant_id: UUID, currency: str, begin: datetime, end: datetime) -> int:
    """Revenue from requests that the ledger booked from `begin` to before `end`, nano-units. Needs a scope."""
    found = LedgerEntry.objects.filter(
        tenant_id=tenant_id,
        account__kind="revenue",
        currency=currency,
        transaction__created_at__gte=begin,
        transaction__created_at__lt=end,
    ).aggregate(total=Sum("amount_nano"))
    return int(found["total"] or 0)


def transactions_between(*, tenant_id: UUID, begin: datetime, end: datetime) -> list[Correction]:
    """Corrections that were booked from `begin` to before `end`, oldest first. Needs a scope."""
    found = (
        LedgerEntry.objects.filter(
            tenant_id=tenant_id,
            account__kind="adjustments",
            transaction__kind="correction",
            transaction__created_at__gte=begin,
            transaction__created_at__lt=end,
        )
        .select_related("transaction")
        .order_by("transaction__created_at", "transaction_id")
    )
    return [
        Correction(
            each.transaction_id,
            each.transaction.created_at,
            each.currency,
            each.amount_nano,
            each.transaction.reason,
        )
        for each in found
    ]


def rates_of(price_ids: Iterable[UUID]) -> Mapping[UUID, Rates]:
    """What each price asks in its first tier; a price that is not known is left out."""
    wanted = set(price_ids)
    if not wanted:
        return {}
    return {
        price.pk: Rates(
            price.input_nano,
            price.cached_nano,
            price.output_nano,
            price.call_nano,
            price.gpu_second_nano,
            price.slot_hour_nano,
        )
        for price in Price.objects.filter(pk__in=wanted)
    }
