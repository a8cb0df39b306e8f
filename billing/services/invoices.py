"""Writing invoices: drafts as there are charges, closing after the month's end, payment.

A closed invoice is never changed: what comes in later, or is corrected, is on the next one.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from billing.models import BillingEvent, Invoice, InvoiceLine, InvoiceSeries, InvoiceState
from billing.money import minor_text, plain
from billing.periods import month_of, span_of
from billing.selectors import invoices as selectors
from core import clock
from core.actors import Actor, system
from core.errors import Conflict, DomainError, InvalidInput
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant

log = structlog.get_logger(__name__)

ACTOR = system("invoices")


@transaction.atomic
def ensure_drafts(*, tenant_id: UUID) -> list[Invoice]:
    """Make the drafts that the tenant's charges and corrections call for, and bring their totals up to date.

    Idempotent. Needs the tenant's scope.
    """
    for month, currency in sorted(selectors.months_charged(tenant_id=tenant_id, until=clock.now())):
        Invoice.objects.get_or_create(tenant_id=tenant_id, month=month, currency=currency)
    drafts = list(
        Invoice.objects.select_for_update(of=("self",))
        .filter(tenant_id=tenant_id, state=InvoiceState.DRAFT)
        .order_by("month", "currency")
    )
    for draft in drafts:
        _lines, draft.total_nano, draft.total_minor = selectors.compute(
            tenant_id=tenant_id, month=draft.month, currency=draft.currency
        )
        draft.computed_at = clock.now()
        draft.save(update_fields=["total_nano", "total_minor", "computed_at", "updated_at"])
    return drafts


@transaction.atomic
def close(*, invoice: Invoice, actor: Actor, reason: str = "") -> Invoice:
    """Give a draft its lines and its number, for good. Raises NotAllowed and Conflict.

    The month must be over, and no earlier one of the same tenant and currency open.
    """
    policies.require(actor, "billing.invoice.close")
    locked = _lock(invoice)
    if locked.state != InvoiceState.DRAFT:
        raise Conflict(_("The invoice is closed already."))
    if clock.now() < span_of(locked.month)[1]:
        raise Conflict(_("The month is not over yet."))
    earlier = Invoice.objects.filter(
        tenant_id=locked.tenant_id,
        currency=locked.currency,
        month__lt=locked.month,
        state=InvoiceState.DRAFT,
    )
    if earlier.exists():
        raise Conflict(_("Close the invoices of earlier months first."))
    lines, locked.total_nano, locked.total_minor = selectors.compute(
        tenant_id=locked.tenant_id, month=locked.month, currency=locked.currency
    )
    InvoiceLine.objects.bulk_create(
        [
            InvoiceLine(
                tenant_id=locked.tenant_id,
                invoice=locked,
                **{name: getattr(line, name) for name in line.__dataclass_fields__},
            )
            for line in lines
        ]
    )
    now = clock.now()
    locked.state = InvoiceState.CLOSED
    locked.customer = locked.tenant.name
    locked.computed_at = locked.closed_at = now
    locked.number = _next_number(now)
    locked.save()
    _tell(locked, "billing.invoice.closed", actor, reason)
    return locked


@transaction.atomic
def mark_paid(*, invoice: Invoice, actor: Actor, payment_reference: str) -> Invoice:
    """Note that a closed invoice was paid, by which payment. Raises NotAllowed, InvalidInput and Conflict."""
    policies.require(actor, "billing.invoice.pay")
    if not payment_reference.strip():
        raise InvalidInput(_("Say by which payment."), field="payment_reference")
    locked = _lock(invoice)
    if locked.state != InvoiceState.CLOSED:
        raise Conflict(_("Only a closed invoice that is not paid yet can be paid."))
    locked.state = InvoiceState.PAID
    locked.paid_at = clock.now()
    locked.payment_reference = payment_reference.strip()[:200]
    locked.save(update_fields=["state", "paid_at", "payment_reference", "updated_at"])
    _tell(locked, "billing.invoice.paid", actor, "")
    return locked


def keep_up() -> int:
    """Make every tenant's drafts, and close those of months that ended long enough ago; returns how many.

    For the schedule; tenant by tenant, so that one that fails holds up no other. However many run at once, an
    invoice is closed once.
    """
    with platform_scope("invoices.keep_up"):
        tenants = list(Tenant.objects.order_by("pk").values_list("pk", flat=True))
    closed = 0
    for tenant_id in tenants:
        try:
            closed += _keep_up_tenant(tenant_id)
        except DomainError as error:
            log.warning("billing.invoices.refused", tenant_id=str(tenant_id), reason=error.message)
    return closed


def _keep_up_tenant(tenant_id: UUID) -> int:
    latest = clock.now() - timedelta(hours=settings.INVOICE_GRACE_H)
    with tenant_scope(tenant_id):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended('billing invoices ' || %s, 0))",
                [str(tenant_id)],
            )
            if not cursor.fetchone()[0]:
                return 0  # somebody is at it
        due = [draft for draft in ensure_drafts(tenant_id=tenant_id) if span_of(draft.month)[1] <= latest]
        for draft in due:
            close(invoice=draft, actor=ACTOR)
        return len(due)


def close_month(*, month: date, actor: Actor) -> list[Invoice]:
    """Close all drafts of one month, whatever grace is left; for an operator. Raises NotAllowed, Conflict."""
    policies.require(actor, "billing.invoice.close")
    if clock.now() < span_of(month)[1]:
        raise Conflict(_("The month is not over yet."))
    with platform_scope("invoices.close_month"):
        tenants = list(Tenant.objects.order_by("pk").values_list("pk", flat=True))
    closed = []
    for tenant_id in tenants:
        with tenant_scope(tenant_id):
            drafts = ensure_drafts(tenant_id=tenant_id)
            closed += [
                close(invoice=draft, actor=actor)
                for draft in drafts
                if draft.month <= month_of(span_of(month)[0])
            ]
    return closed


def _lock(invoice: Invoice) -> Invoice:
    return Invoice.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=invoice.pk)


def _next_number(now: datetime) -> str:
    """The next number of the year: its row stays locked until the closing commits, or gives the number back."""
    year = now.year
    InvoiceSeries.objects.bulk_create([InvoiceSeries(year=year)], ignore_conflicts=True)
    InvoiceSeries.objects.filter(year=year).update(last_number=F("last_number") + 1)
    number = InvoiceSeries.objects.values_list("last_number", flat=True).get(year=year)
    return f"{settings.INVOICE_NUMBER_PREFIX}{year}-{number:06d}"


def _tell(invoice: Invoice, action: str, actor: Actor, reason: str) -> None:
    """Trail and event of what happened to an invoice."""
    audit.record(action, actor=actor, target=invoice, reason=reason, after={"number": invoice.number})
    BillingEvent(
        tenant_id=invoice.tenant_id,
        type=action,
        payload={
            "invoice": invoice.public_id,
            "number": invoice.number,
            "month": f"{invoice.month:%Y-%m}",
            "currency": invoice.currency,
            "total": minor_text(invoice.total_minor, invoice.currency),
            "exact_total": plain(invoice.total_nano),
        },
    ).save(force_insert=True)
