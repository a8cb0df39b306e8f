"""The one way to write to the ledger: `post`. Also what makes accounts, and what checks them.

Whoever moves a tenant's money first locks all of the tenant's accounts in one currency, in one order: two writers
wait for each other and never deadlock, and no row is shared between tenants (F11).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils.translation import gettext as _

from billing.errors import AmountRefused, InsufficientFunds, KeyReused
from billing.models import Account, AccountKind, LedgerEntry, LedgerTransaction
from billing.money import MAX_NANO, currency, nano
from core import clock
from core.actors import Actor
from core.ids import new_id

_ACCOUNT = Account._meta.db_table
_ENTRY = LedgerEntry._meta.db_table
_TRANSACTION = LedgerTransaction._meta.db_table

# One statement for a whole transaction: what it says, its entries, and the balances of the accounts.
_POST = f"""
WITH made AS (
    INSERT INTO {_TRANSACTION} (id, tenant_id, kind, currency, reference, reason, actor_kind, actor_id,
        actor_label, approver_id, approver_label, idempotency_key, digest, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
), sides AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb)
        AS s(id uuid, account_id uuid, number bigint, amount bigint, balance bigint)
), written AS (
    INSERT INTO {_ENTRY} (id, tenant_id, transaction_id, account_id, number, currency, amount_nano, balance_nano)
    SELECT id, %s, %s, account_id, number, %s, amount, balance FROM sides
)
UPDATE {_ACCOUNT} a SET balance_nano = sides.balance, entry_count = sides.number
FROM sides WHERE a.id = sides.account_id
"""  # noqa: S608 - made of the constants above


@dataclass(slots=True)
class Accounts:
    """A tenant's accounts in one currency, locked to the end of the transaction; balances as they are now."""

    tenant_id: UUID
    currency: str
    by_kind: dict[str, Account]

    def __getitem__(self, kind: AccountKind) -> Account:
        return self.by_kind[kind.value]

    @property
    def spendable_nano(self) -> int:
        """What the wallet and its credit line still give."""
        return self[AccountKind.WALLET].spendable_nano


def lock_accounts(*, tenant_id: UUID, code: str) -> Accounts:
    """The tenant's accounts in a currency, locked, and made when they are missing.

    Must run inside a transaction and the tenant's scope or the platform's. One query; three the first time.
    Safe when many are first at once (F02).
    """
    currency(code)
    rows = _locked(tenant_id, code)
    if len(rows) < len(AccountKind):
        # In one order everywhere: two that are first at once wait for each other.
        missing = [kind for kind in sorted(AccountKind.values) if kind not in rows]
        Account.objects.bulk_create(
            [Account(tenant_id=tenant_id, kind=kind, currency=code) for kind in missing],
            ignore_conflicts=True,
        )
        rows = _locked(tenant_id, code)
    return Accounts(tenant_id, code, rows)


def _locked(tenant_id: UUID, code: str) -> dict[str, Account]:
    accounts = Account.objects.filter(tenant_id=tenant_id, currency=code).order_by("kind")
    return {account.kind: account for account in accounts.select_for_update(no_key=True)}


def post(
    *,
    accounts: Accounts,
    kind: str,
    sides: Mapping[AccountKind, int],
    actor: Actor,
    reference: str = "",
    reason: str = "",
    approver: Actor | None = None,
    idempotency_key: str = "",
) -> UUID:
    """Write one transaction and bring the balances up to it; its id. One statement, or one more with a key.

    `sides` says what each account gains, in nano-units, and adds up to zero. With an `idempotency_key` that was
    used before for the same thing, nothing is written and that transaction's id is returned.

    Raises AmountRefused for sides that do not add up or leave the bounds, InsufficientFunds when the wallet
    would go below its credit line, KeyReused for a key that was used for something else.
    """
    moved = {side: nano(amount) for side, amount in sides.items() if amount}
    if not moved or sum(moved.values()) != 0:
        raise AmountRefused(_("What moves between accounts must add up to zero, and be something."))
    digest = _digest(accounts, kind, moved, reference, reason)
    if idempotency_key and (earlier := find(accounts.tenant_id, idempotency_key, digest)) is not None:
        return earlier
    rows = []
    for side, amount in sorted(moved.items()):
        account = accounts[side]
        balance = account.balance_nano + amount
        _check_balance(account, balance, amount)
        rows.append(
            {
                "id": str(new_id()),
                "account_id": str(account.pk),
                "number": account.entry_count + 1,
                "amount": amount,
                "balance": balance,
            }
        )
    transaction_id = new_id()
    with connection.cursor() as cursor:
        cursor.execute(
            _POST,
            [
                *(transaction_id, accounts.tenant_id, str(kind), accounts.currency),
                *(reference[:200], reason[:1_000], actor.kind, actor.id, actor.label[:254]),
                *(approver.id if approver else None, approver.label[:254] if approver else ""),
                *(idempotency_key or str(transaction_id), digest, clock.now(), json.dumps(rows)),
                *(accounts.tenant_id, transaction_id, accounts.currency),
            ],
        )
    for side, amount in moved.items():
        accounts[side].balance_nano += amount
        accounts[side].entry_count += 1
    return transaction_id


def find(tenant_id: UUID, idempotency_key: str, digest: str | None = None) -> UUID | None:
    """The transaction that was made with a key, if any. Raises KeyReused when `digest` says it was another."""
    found = LedgerTransaction.objects.filter(tenant_id=tenant_id, idempotency_key=idempotency_key).first()
    if found is None:
        return None
    if digest is not None and found.digest != digest:
        raise KeyReused(_("This key was used for something else."))
    return found.pk


@transaction.atomic
def move(
    *,
    tenant_id: UUID,
    code: str,
    kind: str,
    sides: Mapping[AccountKind, int],
    actor: Actor,
    reference: str = "",
    reason: str = "",
    approver: Actor | None = None,
    idempotency_key: str = "",
) -> UUID:
    """`post` with the accounts locked first, as a transaction of its own."""
    accounts = lock_accounts(tenant_id=tenant_id, code=code)
    return post(
        accounts=accounts,
        kind=kind,
        sides=sides,
        actor=actor,
        reference=reference,
        reason=reason,
        approver=approver,
        idempotency_key=idempotency_key,
    )


def _check_balance(account: Account, balance: int, amount: int) -> None:
    if not -MAX_NANO <= balance <= MAX_NANO:
        raise AmountRefused(_("The account cannot hold that much."))
    if amount > 0:
        return
    if account.kind == AccountKind.WALLET and balance < -account.credit_limit_nano:
        raise InsufficientFunds(_("The wallet does not cover this."))
    if account.kind in (AccountKind.ESCROW, AccountKind.REVENUE) and balance < 0:
        raise InsufficientFunds(_("There is not that much to take."))


def _digest(
    accounts: Accounts, kind: str, sides: Mapping[AccountKind, int], reference: str, reason: str
) -> str:
    said = [str(accounts.tenant_id), accounts.currency, str(kind), reference, reason]
    said += [f"{side}={amount}" for side, amount in sorted(sides.items())]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def jsonable(amounts: Mapping[Any, int]) -> dict[str, str]:
    """Amounts for the audit trail: as text, since readers of JSON take large numbers for floats."""
    return {str(name): str(amount) for name, amount in amounts.items()}
