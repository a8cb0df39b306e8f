"""Reads of wallets, the ledger, payments and corrections, in the scope of the caller."""

from __future__ import annotations

from typing import Any, TypedDict
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from billing.models import (
    Account,
    AccountKind,
    Correction,
    LedgerEntry,
    LedgerTransaction,
    Payment,
    UsageRecord,
)
from billing.selectors.prices import prices_in_force
from core.errors import NotFound
from core.ids import parse_public_id


class Wallet(TypedDict):
    """What a tenant has in one currency, in nano-units.

    `spendable` is `balance` and `credit_line` together; `held` was set aside for requests before and is not part
    of the balance any more.
    """

    currency: str
    balance: int
    held: int
    credit_line: int
    spendable: int
    charged: int


class Wallets(TypedDict):
    """A tenant's money: in the currency of its plan (`current`), and in others that it has accounts in."""

    tenant_id: UUID
    charged: bool
    current: Wallet | None
    others: list[Wallet]


def wallets_of(*, tenant_id: UUID) -> Wallets:
    """A tenant's wallets. Three queries."""
    plan, _prices = prices_in_force(tenant_id=tenant_id)
    accounts: dict[str, dict[str, Account]] = {}
    for account in Account.objects.filter(tenant_id=tenant_id).order_by("currency", "kind"):
        accounts.setdefault(account.currency, {})[account.kind] = account
    wallets = {code: _wallet(code, kinds) for code, kinds in accounts.items()}
    current = None
    if plan is not None:
        current = wallets.pop(plan.currency, None) or _wallet(plan.currency, {})
    return Wallets(
        tenant_id=tenant_id, charged=plan is not None, current=current, others=list(wallets.values())
    )


def _wallet(code: str, kinds: dict[str, Account]) -> Wallet:
    def balance(kind: AccountKind) -> int:
        return kinds[kind].balance_nano if kind in kinds else 0

    wallet = kinds.get(AccountKind.WALLET)
    return Wallet(
        currency=code,
        balance=balance(AccountKind.WALLET),
        held=balance(AccountKind.ESCROW),
        credit_line=wallet.credit_limit_nano if wallet else 0,
        spendable=wallet.spendable_nano if wallet else 0,
        charged=balance(AccountKind.REVENUE),
    )


def transactions() -> QuerySet[Any]:
    """The ledger's transactions in scope with their entries, the newest first. Two queries a page."""
    rows = LedgerTransaction.objects.prefetch_related("entries__account")
    return rows.order_by("-id")


def transaction_by_public_id(*, public_id: str) -> LedgerTransaction:
    """One transaction in scope by its `txn_…` id. Raises NotFound."""
    try:
        found = transactions().filter(pk=parse_public_id(public_id, LedgerTransaction.id_prefix)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(_("There is no such transaction."))
    return found


def requests_behind(*, transaction: LedgerTransaction) -> QuerySet[Any]:
    """The usage records that a transaction charged for, the newest first."""
    records = UsageRecord.objects.filter(tenant_id=transaction.tenant_id)
    return records.filter(ledger_transaction_id=transaction.pk).order_by("-finished_at", "-id")


def entries() -> QuerySet[Any]:
    """Entries in scope, the newest first."""
    return LedgerEntry.objects.select_related("account", "transaction").order_by("-id")


def payments() -> QuerySet[Any]:
    """Payments in scope, the newest first."""
    return Payment.objects.order_by("-id")


def corrections() -> QuerySet[Any]:
    """Corrections in scope, the newest first."""
    return Correction.objects.order_by("-id")
