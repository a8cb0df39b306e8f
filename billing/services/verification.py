"""Whether the ledger is what it says: balances, transactions, escrows and charges against each other (L12)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import connection

from billing.models import Account, EscrowEpoch, LedgerEntry, LedgerTransaction, UsageRecord
from core.scoping import platform_scope, tenant_scope

log = structlog.get_logger(__name__)

_ACCOUNT = Account._meta.db_table
_ENTRY = LedgerEntry._meta.db_table
_EPOCH = EscrowEpoch._meta.db_table
_TRANSACTION = LedgerTransaction._meta.db_table
_USAGE = UsageRecord._meta.db_table

# Each question returns (tenant, what, said, found) for everything that is not as it should be.
_CHECKS = {
    "balance": f"""
        SELECT a.tenant_id, a.kind || ' ' || a.currency, a.balance_nano, coalesce(sum(e.amount_nano), 0)
        FROM {_ACCOUNT} a LEFT JOIN {_ENTRY} e ON e.account_id = a.id
        GROUP BY a.id HAVING a.balance_nano <> coalesce(sum(e.amount_nano), 0)""",  # noqa: S608 - made of the constants above
    "unbalanced": f"""
        SELECT t.tenant_id, t.id::text, 0, coalesce(sum(e.amount_nano), 0)
        FROM {_TRANSACTION} t LEFT JOIN {_ENTRY} e ON e.transaction_id = t.id
        GROUP BY t.id HAVING coalesce(sum(e.amount_nano), 0) <> 0 OR count(e.id) < 2""",  # noqa: S608 - made of the constants above
    "entry": f"""
        SELECT tenant_id, id::text, balance_nano, running FROM (
            SELECT e.tenant_id, e.id, e.balance_nano, e.number,
                sum(e.amount_nano) OVER account AS running, row_number() OVER account AS counted
            FROM {_ENTRY} e WINDOW account AS (PARTITION BY e.account_id ORDER BY e.number)) entries
        WHERE balance_nano <> running OR number <> counted""",  # noqa: S608 - made of the constants above
    "entries": f"""
        SELECT a.tenant_id, a.kind || ' ' || a.currency, a.entry_count, count(e.id)
        FROM {_ACCOUNT} a LEFT JOIN {_ENTRY} e ON e.account_id = a.id
        GROUP BY a.id HAVING a.entry_count <> count(e.id)""",  # noqa: S608 - made of the constants above
    "escrow": f"""
        SELECT a.tenant_id, 'escrow ' || a.currency, a.balance_nano, coalesce(sum(
            p.granted_nano - p.charged_nano - p.returned_nano), 0)
        FROM {_ACCOUNT} a LEFT JOIN {_EPOCH} p ON p.tenant_id = a.tenant_id AND p.currency = a.currency
        WHERE a.kind = 'escrow' GROUP BY a.id
        HAVING a.balance_nano <> coalesce(sum(p.granted_nano - p.charged_nano - p.returned_nano), 0)""",  # noqa: S608 - made of the constants above
    "revenue": f"""
        SELECT a.tenant_id, 'revenue ' || a.currency, a.balance_nano, coalesce(u.charged, 0)
        FROM {_ACCOUNT} a LEFT JOIN (
            SELECT tenant_id, currency, sum(charge_nano) AS charged FROM {_USAGE}
            WHERE currency <> '' GROUP BY tenant_id, currency
        ) u ON u.tenant_id = a.tenant_id AND u.currency = a.currency
        WHERE a.kind = 'revenue' AND a.balance_nano <> coalesce(u.charged, 0)""",  # noqa: S608 - made of the constants above
}


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Something that does not add up: which check, whose, what, the amount that is said and the one found."""

    check: str
    tenant_id: UUID
    what: str
    said_nano: int
    found_nano: int


def verify(*, tenant_id: UUID | None = None) -> list[Discrepancy]:
    """Everything in a tenant's ledger, or in all, that does not add up; nothing when all is well.

    `balance`: an account against its entries, `entries`: how many it has; `unbalanced`: a transaction against
    zero; `entry`: the balance that an entry states against those before it; `escrow`: what is set aside against
    its epochs; `revenue`: the ledger against the charges on usage records. Reads every entry and record: for
    nightly runs, not for pages.
    """
    if tenant_id is not None:
        with tenant_scope(tenant_id):
            return _run()
    with platform_scope("verification of the ledger"):
        return _run()


def _run() -> list[Discrepancy]:
    found = []
    with connection.cursor() as cursor:
        for check, question in _CHECKS.items():
            cursor.execute(question)
            found += [
                Discrepancy(check, tenant, what, int(said), int(counted))
                for tenant, what, said, counted in cursor.fetchall()
            ]
    for each in found:
        log.error(
            "billing.ledger_does_not_add_up",
            check=each.check,
            tenant_id=str(each.tenant_id),
            what=each.what,
            said_nano=each.said_nano,
            found_nano=each.found_nano,
        )
    return found
