"""Setting money aside for Valkey to spend, and taking back what it did not (L10).

Valkey admits requests against what was set aside here before, so that losing Valkey, or any part of its memory,
can cost waiting time and never money. An epoch is one run of Valkey: what it was granted is void for the next.
Called by admission on its cold path, a few times per tenant and minute, never once per request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from django.utils.translation import gettext as _

from billing.errors import EpochClosed, InsufficientFunds
from billing.models import AccountKind, EpochState, EscrowEpoch, TransactionKind
from billing.models.prices import EVERY_MODEL
from billing.money import nano
from billing.rating import PriceTerms, charge_nano, worst_case_nano
from billing.selectors.prices import prices_in_force
from billing.services import ledger
from core import clock
from core.actors import system
from core.errors import InvalidInput
from core.scoping import platform_scope, tenant_scope

__all__ = [
    "Grant",
    "PriceTerms",
    "Terms",
    "charge_nano",
    "close_epoch",
    "give_back",
    "grant",
    "open_epochs",
    "terms_for",
    "worst_case_nano",
]

log = structlog.get_logger(__name__)

ACTOR = system("escrow")
# How much is set aside at once: enough for this many such requests, and at least this part of what there is.
SLICE_REQUESTS: Final = 64
SLICE_PART: Final = 8
_LONGEST_EPOCH = 100


@dataclass(frozen=True, slots=True)
class Grant:
    """Money that was set aside. `id` is its ledger transaction: crediting the same id twice must count once."""

    id: str
    amount_nano: int
    currency: str


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a tenant is charged right now. `prices` is by public model name, with `*` for all others.

    A tenant without a price plan is not charged at all, and nothing is held.
    """

    charged: bool
    currency: str = ""
    prices: Mapping[str, PriceTerms] = field(default_factory=dict)

    def price_of(self, model: str) -> PriceTerms | None:
        """What `model` costs; none when the plan has no price for it: then it is not sold to this tenant."""
        return self.prices.get(model) or self.prices.get(EVERY_MODEL)


def terms_for(*, tenant_id: UUID) -> Terms:
    """The tenant's prices now, at the highest that their tiers can reach. Four queries; for snapshots."""
    with tenant_scope(tenant_id):
        plan, prices = prices_in_force(tenant_id=tenant_id)
    if plan is None:
        return Terms(charged=False)
    return Terms(True, plan.currency, {price.model: price.terms for price in prices})


def grant(*, tenant_id: UUID, epoch: str, need_nano: int) -> Grant | None:
    """Set aside at least `need_nano` for one epoch, normally more; none when the tenant cannot cover it.

    A grant that is never credited to Valkey stays set aside until `close_epoch`: money is never spent twice.
    Also none for a tenant that has no price plan. Raises AmountRefused for a need below one, EpochClosed for an
    epoch that has ended. About six statements; tenants do not wait for each other.
    """
    nano(need_nano, least=1, field="need_nano")
    with tenant_scope(tenant_id):
        plan, _prices = prices_in_force(tenant_id=tenant_id)
        if plan is None:
            return None
        accounts = ledger.lock_accounts(tenant_id=tenant_id, code=plan.currency)
        # Under the accounts' lock, as every other change of an epoch.
        row = _epoch(tenant_id, epoch, plan.currency)
        spendable = accounts.spendable_nano
        if spendable < need_nano:
            return None
        slice_nano = max(need_nano * SLICE_REQUESTS, spendable // SLICE_PART)
        amount = min(spendable, slice_nano)
        transaction_id = ledger.post(
            accounts=accounts,
            kind=TransactionKind.GRANT,
            sides={AccountKind.WALLET: -amount, AccountKind.ESCROW: amount},
            actor=ACTOR,
            reference=row.epoch,
        )
        row.granted_nano += amount
        row.save(update_fields=["granted_nano"])
    return Grant(str(transaction_id), amount, plan.currency)


def give_back(
    *, tenant_id: UUID, epoch: str, amount_nano: int, currency: str = "", idempotency_key: str = ""
) -> None:
    """Return to the wallet what has been taken out of Valkey before.

    `currency` is needed only where the epoch holds several. With an `idempotency_key` a repeated call returns
    nothing more. Raises AmountRefused, InsufficientFunds for more than the epoch has left, EpochClosed, and
    InvalidInput for an epoch that was never granted anything.
    """
    nano(amount_nano, least=1, field="amount_nano")
    with tenant_scope(tenant_id):
        code = currency or _currency_of(epoch)
        accounts = ledger.lock_accounts(tenant_id=tenant_id, code=code)
        if idempotency_key and ledger.find(tenant_id, idempotency_key) is not None:
            return
        row = _epoch(tenant_id, epoch, code)
        if amount_nano > row.left_nano:
            raise InsufficientFunds(_("There is not that much to take."))
        _return(accounts, row, amount_nano, idempotency_key)
        row.save(update_fields=["returned_nano"])


def close_epoch(*, tenant_id: UUID, epoch: str) -> int:
    """End an epoch for good and return all that it has left; how much, in nano-units. Idempotent.

    To be called once no request of the epoch can be running any more: what arrives later is charged to the
    wallet, as far as that covers it.
    """
    returned = 0
    with tenant_scope(tenant_id):
        codes = EscrowEpoch.objects.filter(epoch=epoch).order_by("currency")
        for code in codes.values_list("currency", flat=True):
            accounts = ledger.lock_accounts(tenant_id=tenant_id, code=code)
            row = EscrowEpoch.objects.get(epoch=epoch, currency=code)
            if row.state == EpochState.CLOSED:
                continue
            left = row.left_nano
            if left:
                _return(accounts, row, left, "")
            row.state, row.closed_at = EpochState.CLOSED, clock.now()
            row.save(update_fields=["returned_nano", "state", "closed_at"])
            returned += left
            log.info("escrow.closed", tenant_id=str(tenant_id), returned_nano=left)
    return returned


def open_epochs(*, other_than: str = "", opened_before: datetime | None = None) -> list[tuple[UUID, str]]:
    """(tenant, epoch) of all epochs that are not closed, but for Valkey's present one: what is to be closed."""
    with platform_scope("escrows of earlier runs of Valkey"):
        rows = EscrowEpoch.objects.filter(state=EpochState.OPEN).exclude(epoch=other_than)
        if opened_before is not None:
            rows = rows.filter(opened_at__lt=opened_before)
        return list(rows.order_by("tenant_id", "epoch").values_list("tenant_id", "epoch").distinct())


def _return(accounts: ledger.Accounts, row: EscrowEpoch, amount: int, key: str) -> None:
    ledger.post(
        accounts=accounts,
        kind=TransactionKind.RETURN,
        sides={AccountKind.ESCROW: -amount, AccountKind.WALLET: amount},
        actor=ACTOR,
        reference=row.epoch,
        idempotency_key=key,
    )
    row.returned_nano += amount


def _epoch(tenant_id: UUID, epoch: str, code: str) -> EscrowEpoch:
    """The epoch's row, made where there is none; the accounts' lock must be held. Raises EpochClosed."""
    if not isinstance(epoch, str) or not 0 < len(epoch) <= _LONGEST_EPOCH or not epoch.isprintable():
        raise InvalidInput(_("An epoch is a run of Valkey, by its id."), field="epoch")
    row: EscrowEpoch | None = EscrowEpoch.objects.filter(epoch=epoch, currency=code).first()
    if row is None:
        row = EscrowEpoch(tenant_id=tenant_id, epoch=epoch, currency=code)
        row.save(force_insert=True)
    elif row.state == EpochState.CLOSED:
        raise EpochClosed(_("This run of Valkey has ended: read its id again."))
    return row


def _currency_of(epoch: str) -> str:
    codes = list(
        EscrowEpoch.objects.filter(epoch=epoch, state=EpochState.OPEN).values_list("currency", flat=True)
    )
    if len(codes) == 1:
        return str(codes[0])
    if EscrowEpoch.objects.filter(epoch=epoch, state=EpochState.CLOSED).exists() and not codes:
        raise EpochClosed(_("This run of Valkey has ended: read its id again."))
    raise InvalidInput(_("Say in which currency."), field="currency")
