"""Usage records as settlement leaves them behind, written by SQL of several rows: what triggers have to follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from billing.models import AccountKind, Outcome, TransactionKind, UsageRecord
from billing.services import ledger
from core.actors import system
from core.scoping import tenant_scope
from tenants.models import Tenant

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)


def record(tenant: Tenant, request_id: str, **changes: Any) -> UsageRecord:
    """A charged request of October, not written yet."""
    started_at = changes.pop("started_at", OCTOBER + timedelta(days=6, hours=10, minutes=20))
    fields: dict[str, Any] = {
        "model": "atrium-starter",
        "outcome": Outcome.COMPLETED,
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "duration_ms": 1000,
        "queue_ms": 100,
        "currency": "CNY",
        "charge_nano": 1_000_000,
        **changes,
    }
    fields.setdefault("hold_nano", max(fields["charge_nano"], 1_000))
    return UsageRecord(
        tenant=tenant,
        request_id=request_id,
        started_at=started_at,
        finished_at=started_at + timedelta(seconds=1),
        **fields,
    )


def settle(tenant: Tenant, *records: UsageRecord) -> None:
    """Write them, all in one statement."""
    with tenant_scope(tenant.pk):
        UsageRecord.objects.bulk_create(list(records))


def settle_and_book(tenant: Tenant, *records: UsageRecord) -> None:
    """Write them, and in the ledger what they cost, out of money that comes in just now."""
    settle(tenant, *records)
    with tenant_scope(tenant.pk), transaction.atomic():
        for code in sorted({each.currency for each in records if each.currency}):
            cost = sum(each.charge_nano for each in records if each.currency == code)
            if cost:
                accounts = ledger.lock_accounts(tenant_id=tenant.pk, code=code)
                ledger.post(
                    accounts=accounts,
                    kind=TransactionKind.USAGE,
                    sides={AccountKind.PAYMENTS: -cost, AccountKind.REVENUE: cost},
                    actor=system("tests"),
                )
