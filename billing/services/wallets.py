"""Money in and out of wallets: payments, refunds, presents, and the credit line."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from billing import payments
from billing.errors import KeyReused
from billing.models import Account, AccountKind, Payment, PaymentState, TransactionKind
from billing.money import currency as known_currency
from billing.money import nano, plain
from billing.services import ledger
from core.actors import Actor, system
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.events import announce
from core.scoping import platform_scope
from tenants.models import Tenant


@transaction.atomic
def begin_payment(
    *,
    actor: Actor,
    tenant: Tenant,
    amount_nano: int,
    currency: str,
    reference: str = "",
    provider: str = "manual",
    note: str = "",
) -> Payment:
    """Write down a payment that is to come. Idempotent by the provider's reference.

    Raises NotAllowed, AmountRefused, InvalidInput, and KeyReused for a reference that stands for another amount.
    """
    policies.require(actor, "billing.payment.record")
    nano(amount_nano, least=1, field="amount")
    known_currency(currency)
    through = payments.provider(provider)
    # Serialises payments of one tenant, so that the same reference twice is one payment.
    ledger.lock_accounts(tenant_id=tenant.pk, code=currency)
    payment = Payment(
        tenant=tenant,
        provider=through.name,
        amount_nano=amount_nano,
        currency=currency,
        note=note[:500],
        created_by=actor.label[:254],
    )
    placed = through.place(_order(payment, tenant, reference))
    earlier = Payment.objects.filter(tenant=tenant, provider=through.name, reference=placed.reference).first()
    if earlier is not None:
        if (earlier.amount_nano, earlier.currency) != (amount_nano, currency):
            raise KeyReused(_("This reference stands for another payment."), field="reference")
        return earlier
    payment.reference, payment.pay_url = placed.reference, placed.pay_url
    payment.save(force_insert=True)
    _audit("billing.payment.recorded", actor, payment)
    return payment


@transaction.atomic
def confirm_payment(*, actor: Actor, payment: Payment) -> Payment:
    """A payment has arrived: the wallet gets it. Idempotent.

    Raises NotAllowed (also for providers that confirm by themselves), Conflict for one that failed or was paid
    back.
    """
    policies.require(actor, "billing.payment.confirm")
    if not payments.provider(payment.provider).confirmed_by_operator:
        raise NotAllowed(_("This provider confirms its payments itself."))
    return _confirm(actor, payment)


def notified(*, provider: str, headers: Mapping[str, str], body: bytes) -> Payment:
    """What a provider's webhook says is done: the payment is confirmed, or has failed. Idempotent.

    Opens the platform door: a provider knows references and no tenants. Raises NotAllowed for a report that is
    not the provider's, NotFound for a payment that is not ours, Conflict where the amount is not the one.
    """
    notice = payments.provider(provider).read_notice(headers, body)
    with platform_scope("a payment provider's report"):
        found = list(Payment.objects.filter(provider=provider, reference=notice.reference)[:2])
        if len(found) != 1:
            raise NotFound(_("There is no such payment."))
        payment: Payment = found[0]
        if (notice.amount_nano, notice.currency) != (payment.amount_nano, payment.currency):
            raise Conflict(_("The amount is not that of the payment."), code="amount_differs")
        actor = system(f"payments.{provider}")
        return _confirm(actor, payment) if notice.paid else _fail(actor, payment)


@transaction.atomic
def refund_payment(*, actor: Actor, payment: Payment, reason: str) -> Payment:
    """Pay a confirmed payment back in full, out of what the wallet still has. Idempotent.

    Raises NotAllowed, InvalidInput without a reason, InsufficientFunds, Conflict for one that never arrived.
    """
    policies.require(actor, "billing.payment.refund")
    reason = required_reason(reason)
    accounts, locked = _locked(payment)
    if locked.state == PaymentState.REFUNDED:
        return locked
    if locked.state != PaymentState.CONFIRMED:
        raise Conflict(_("Only what has arrived can be paid back."), code="wrong_state")
    if accounts[AccountKind.WALLET].balance_nano < locked.amount_nano:
        raise Conflict(_("The wallet does not hold that much any more."), code="insufficient_funds")
    ledger.post(
        accounts=accounts,
        kind=TransactionKind.REFUND,
        sides={
            AccountKind.WALLET: -locked.amount_nano,
            AccountKind.PAYMENTS: locked.amount_nano,
        },
        actor=actor,
        reference=locked.public_id,
        reason=reason,
        idempotency_key=f"refund:{locked.public_id}",
    )
    locked.state = PaymentState.REFUNDED
    locked.save(update_fields=["state", "updated_at"])
    _audit("billing.payment.refunded", actor, locked, reason)
    # Last: the provider's refund cannot be rolled back, and everything else can.
    order = _order(locked, locked.tenant, locked.reference)
    payments.provider(locked.provider).refund(order, locked.reference)
    _changed(locked.tenant)
    return locked


@transaction.atomic
def grant_credit(
    *,
    actor: Actor,
    tenant: Tenant,
    amount_nano: int,
    currency: str,
    reason: str,
    idempotency_key: str = "",
) -> None:
    """Give a tenant money to spend. Idempotent with a key.

    Raises NotAllowed, AmountRefused, InvalidInput without a reason, KeyReused.
    """
    policies.require(actor, "billing.wallet.change")
    nano(amount_nano, least=1, field="amount")
    reason = required_reason(reason)
    ledger.move(
        tenant_id=tenant.pk,
        code=currency,
        kind=TransactionKind.CREDIT,
        sides={AccountKind.CREDIT: -amount_nano, AccountKind.WALLET: amount_nano},
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
    )
    audit.record(
        "billing.wallet.credited",
        actor=actor,
        target=tenant,
        tenant_id=tenant.pk,
        reason=reason,
        after={"amount": plain(amount_nano), "currency": currency},
    )
    _changed(tenant)


@transaction.atomic
def set_credit_line(*, actor: Actor, tenant: Tenant, limit_nano: int, currency: str, reason: str) -> Account:
    """How far a tenant's wallet may go below zero; 0 makes it prepaid. Returns the wallet.

    Raises NotAllowed, AmountRefused, InvalidInput without a reason, Conflict when the tenant owes more already.
    """
    policies.require(actor, "billing.wallet.change")
    nano(limit_nano, least=0, field="limit")
    reason = required_reason(reason)
    wallet = ledger.lock_accounts(tenant_id=tenant.pk, code=currency)[AccountKind.WALLET]
    before = wallet.credit_limit_nano
    if wallet.balance_nano < -limit_nano:
        raise Conflict(
            _("The tenant owes %(amount)s %(currency)s already.")
            % {"amount": plain(-wallet.balance_nano), "currency": currency},
            code="credit_in_use",
        )
    wallet.credit_limit_nano = limit_nano
    wallet.save(update_fields=["credit_limit_nano"])
    audit.record(
        "billing.wallet.credit_line_set",
        actor=actor,
        target=tenant,
        tenant_id=tenant.pk,
        reason=reason,
        before={"limit": plain(before), "currency": currency},
        after={"limit": plain(limit_nano), "currency": currency},
    )
    _changed(tenant)
    return wallet


def required_reason(reason: str) -> str:
    """The reason without blanks around it. Raises InvalidInput for none, or one that is too long."""
    reason = reason.strip()
    if not 0 < len(reason) <= 1_000:
        raise InvalidInput(_("Give a reason of at most 1,000 characters; it is kept."), field="reason")
    return reason


def _confirm(actor: Actor, payment: Payment) -> Payment:
    with transaction.atomic():
        accounts, locked = _locked(payment)
        if locked.state == PaymentState.CONFIRMED:
            return locked
        if locked.state != PaymentState.PENDING:
            raise Conflict(_("This payment has failed or was paid back."), code="wrong_state")
        locked.transaction_id = ledger.post(
            accounts=accounts,
            kind=TransactionKind.TOP_UP,
            sides={AccountKind.PAYMENTS: -locked.amount_nano, AccountKind.WALLET: locked.amount_nano},
            actor=actor,
            reference=locked.public_id,
            idempotency_key=f"payment:{locked.public_id}",
        )
        locked.state = PaymentState.CONFIRMED
        locked.save(update_fields=["state", "transaction", "updated_at"])
        _audit("billing.payment.confirmed", actor, locked)
        _changed(locked.tenant)
    return locked


def _fail(actor: Actor, payment: Payment) -> Payment:
    with transaction.atomic():
        _accounts, locked = _locked(payment)
        if locked.state != PaymentState.PENDING:
            return locked
        locked.state = PaymentState.FAILED
        locked.save(update_fields=["state", "updated_at"])
        _audit("billing.payment.failed", actor, locked)
    return locked


def _locked(payment: Payment) -> tuple[ledger.Accounts, Payment]:
    """The payment as it is now, under the lock of its tenant's accounts. Raises NotFound outside the scope."""
    accounts = ledger.lock_accounts(tenant_id=payment.tenant_id, code=payment.currency)
    locked = Payment.objects.select_related("tenant").filter(pk=payment.pk).first()
    if locked is None:
        raise NotFound(_("There is no such payment."))
    return accounts, locked


def _order(payment: Payment, tenant: Tenant, reference: str) -> payments.Order:
    return payments.Order(
        id=payment.public_id,
        tenant=tenant.slug,
        amount_nano=payment.amount_nano,
        currency=payment.currency,
        reference=reference,
    )


def _audit(action: str, actor: Actor, payment: Payment, reason: str = "") -> None:
    audit.record(
        action,
        actor=actor,
        target=payment,
        tenant_id=payment.tenant_id,
        reason=reason,
        after={
            "amount": plain(payment.amount_nano),
            "currency": payment.currency,
            "provider": payment.provider,
            "reference": payment.reference,
            "state": str(payment.state),
        },
    )


def _changed(tenant: Tenant) -> None:
    """Refusals for want of money are forgotten everywhere at once."""
    announce("tenant", tenant_id=tenant.pk)
