"""Corrections: new entries with a reason, asked for by one person and approved by another (L13, F13, F14)."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from billing.models import AccountKind, Correction, CorrectionState, LedgerTransaction, TransactionKind
from billing.money import currency as known_currency
from billing.money import nano, plain
from billing.services import ledger
from billing.services.wallets import required_reason
from core import clock
from core.actors import Actor
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.events import announce
from tenants.models import Tenant


@transaction.atomic
def request(
    *,
    actor: Actor,
    tenant: Tenant,
    amount_nano: int,
    currency: str,
    reason: str,
    corrects: LedgerTransaction | None = None,
) -> Correction:
    """Ask for an amount to be added to a tenant's wallet, or taken when it is below zero. Moves nothing yet.

    Raises NotAllowed, AmountRefused, InvalidInput without a reason, or for a transaction of another tenant.
    """
    policies.require(actor, "billing.correction.request")
    if nano(amount_nano, field="amount") == 0:
        raise InvalidInput(_("A correction of nothing corrects nothing."), field="amount")
    known_currency(currency)
    if corrects is not None and (corrects.tenant_id, corrects.currency) != (tenant.pk, currency):
        raise InvalidInput(_("This is no transaction of the tenant's in this currency."), field="corrects")
    correction = Correction(
        tenant=tenant,
        amount_nano=amount_nano,
        currency=currency,
        reason=required_reason(reason),
        corrects=corrects,
        requested_by_id=actor.id,
        requested_by=actor.label[:254],
    )
    correction.save(force_insert=True)
    _audit("billing.correction.requested", actor, correction)
    return correction


@transaction.atomic
def approve(*, actor: Actor, correction: Correction) -> Correction:
    """Let a correction happen: it is written to the ledger, once. Idempotent for the person who approved.

    Raises NotAllowed for whoever asked for it, and for who is no person; Conflict for one that was decided;
    InsufficientFunds where the wallet does not hold what is to be taken.
    """
    policies.require(actor, "billing.correction.approve")
    accounts, locked = _locked(correction)
    if actor.kind != "person" or actor.id is None or actor.id == locked.requested_by_id:
        raise NotAllowed(_("A correction is approved by another person than asked for it."), code="four_eyes")
    if locked.state == CorrectionState.APPROVED and locked.decided_by_id == actor.id:
        return locked
    _refuse_decided(locked)
    amount = locked.amount_nano
    locked.transaction_id = ledger.post(
        accounts=accounts,
        kind=TransactionKind.CORRECTION,
        sides={AccountKind.WALLET: amount, AccountKind.ADJUSTMENTS: -amount},
        actor=Actor(kind="person", label=locked.requested_by, id=locked.requested_by_id),
        approver=actor,
        reference=locked.public_id,
        reason=locked.reason,
        idempotency_key=f"correction:{locked.public_id}",
    )
    _decide(locked, CorrectionState.APPROVED, actor)
    _audit("billing.correction.approved", actor, locked)
    announce("tenant", tenant_id=locked.tenant_id)
    return locked


@transaction.atomic
def reject(*, actor: Actor, correction: Correction, reason: str) -> Correction:
    """Turn a correction down; whoever asked for it may do so too. Raises NotAllowed, InvalidInput, Conflict."""
    policies.require(actor, "billing.correction.approve")
    reason = required_reason(reason)
    _accounts, locked = _locked(correction)
    _refuse_decided(locked)
    _decide(locked, CorrectionState.REJECTED, actor)
    _audit("billing.correction.rejected", actor, locked, reason)
    return locked


def _locked(correction: Correction) -> tuple[ledger.Accounts, Correction]:
    accounts = ledger.lock_accounts(tenant_id=correction.tenant_id, code=correction.currency)
    locked = Correction.objects.filter(pk=correction.pk).first()
    if locked is None:
        raise NotFound(_("There is no such correction."))
    return accounts, locked


def _refuse_decided(correction: Correction) -> None:
    if correction.state != CorrectionState.REQUESTED:
        raise Conflict(_("This correction has been decided."), code="wrong_state")


def _decide(correction: Correction, state: CorrectionState, actor: Actor) -> None:
    correction.state = state
    correction.decided_by_id, correction.decided_by = actor.id, actor.label[:254]
    correction.decided_at = clock.now()
    correction.save(
        update_fields=[
            *("state", "decided_by_id", "decided_by", "decided_at"),
            *("transaction", "updated_at"),
        ]
    )


def _audit(action: str, actor: Actor, correction: Correction, reason: str = "") -> None:
    audit.record(
        action,
        actor=actor,
        target=correction,
        tenant_id=correction.tenant_id,
        reason=reason or correction.reason,
        after={
            "amount": plain(correction.amount_nano),
            "currency": correction.currency,
            "state": str(correction.state),
        },
    )
