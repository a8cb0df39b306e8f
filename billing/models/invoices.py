"""Invoices: a tenant's month in one currency. PostgreSQL refuses changes of a closed one (docs/adr/0017)."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from core.models import Identified, TenantOwned, Timestamped


class InvoiceState(models.TextChoices):
    """What may still happen to an invoice."""

    DRAFT = "draft", _("Draft")  # computed anew whenever it is read
    CLOSED = "closed", pgettext_lazy("invoice", "Closed")  # numbered and final
    PAID = "paid", _("Paid")


class LineKind(models.TextChoices):
    """Why a line is there."""

    USAGE = "usage", _("Usage")
    LATE = "late", _("Usage of an earlier month")  # that came in, or changed, after its invoice was closed
    CORRECTION = "correction", _("Correction")
    ROUNDING = "rounding", _("Rounding difference")


class Component(models.TextChoices):
    """What a line counts."""

    INPUT = "input", _("Input tokens")
    CACHED = "cached", _("Cached input tokens")
    OUTPUT = "output", _("Output tokens")
    CALLS = "calls", _("Calls")
    GPU = "gpu", _("GPU seconds")
    SLOTS = "slots", _("Slot hours")
    WHOLE = "whole", _("Requests")  # where nothing is known of the price that divided the charge
    NONE = "", _("None")


class Invoice(TenantOwned, Timestamped):
    """One month (UTC, by when requests started) of one tenant in one currency.

    `total_nano` is the ledger's sum and what the lines add up to exactly; `total_minor` is the same rounded half
    to even to the currency's smallest unit.
    """

    id_prefix = "inv"

    month = models.DateField(_("month"))  # its first day
    currency = models.CharField(_("currency"), max_length=3)
    state = models.CharField(
        _("state"), max_length=8, choices=InvoiceState.choices, default=InvoiceState.DRAFT
    )
    number = models.CharField(_("number"), max_length=32, null=True, blank=True, unique=True)
    customer = models.CharField(_("customer"), max_length=100, blank=True)  # the tenant's name when closed
    total_nano = models.BigIntegerField(_("exact total"), default=0)
    total_minor = models.BigIntegerField(_("total"), default=0)
    computed_at = models.DateTimeField(_("computed"), null=True, blank=True)
    closed_at = models.DateTimeField(pgettext_lazy("invoice", "closed"), null=True, blank=True)
    paid_at = models.DateTimeField(_("paid"), null=True, blank=True)
    payment_reference = models.CharField(_("payment reference"), max_length=200, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("invoice")
        verbose_name_plural = _("invoices")
        ordering = ["-month", "currency", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "month", "currency"], name="billing_invoice_once"),
            models.CheckConstraint(
                condition=models.Q(state=InvoiceState.DRAFT, number=None)
                | models.Q(state__in=[InvoiceState.CLOSED, InvoiceState.PAID], number__isnull=False),
                name="billing_invoice_numbered_when_closed",
            ),
        ]
        indexes = [
            # Drafts of months that are over, for the closing job.
            models.Index(
                fields=["month"], name="billing_invoice_drafts", condition=models.Q(state=InvoiceState.DRAFT)
            ),
        ]

    def __str__(self) -> str:
        return self.number or f"{self.month:%Y-%m} {self.currency}"


class InvoiceLine(TenantOwned):
    """One line of a closed invoice; a draft's lines are computed (`billing.selectors.invoices.lines_of`)."""

    id_prefix = "inl"

    invoice = models.ForeignKey(
        Invoice, verbose_name=_("invoice"), on_delete=models.PROTECT, related_name="lines"
    )
    position = models.IntegerField(_("line"))  # from 1
    kind = models.CharField(_("kind"), max_length=12, choices=LineKind.choices)
    model = models.CharField(_("model"), max_length=200, blank=True)
    component = models.CharField(_("component"), max_length=8, choices=Component.choices, blank=True)
    period = models.DateField(_("month of the usage"))
    # Tokens, calls, ns of GPU time, or ms of slot time; may be below zero on lines that take something back.
    quantity = models.BigIntegerField(_("quantity"), default=0)
    exact_nano = models.BigIntegerField(_("exact amount"))
    amount_minor = models.BigIntegerField(_("amount"))
    reference = models.UUIDField(_("ledger transaction"), null=True, blank=True)  # of a correction
    note = models.CharField(_("note"), max_length=1000, blank=True)  # a correction's reason

    class Meta(TenantOwned.Meta):
        verbose_name = _("invoice line")
        verbose_name_plural = _("invoice lines")
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "invoice", "position"], name="billing_invoice_line_once"
            ),
            # A correction is on one invoice only.
            models.UniqueConstraint(
                fields=["tenant", "reference"],
                condition=models.Q(reference__isnull=False),
                name="billing_invoice_correction_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.position}"


class InvoiceSeries(Identified):
    """The last number given in a year: taken in the closing transaction, so that a failed one leaves no gap."""

    id_prefix = "ins"
    tenant_scope: ClassVar[str] = "global"

    year = models.IntegerField(_("year"), unique=True)
    last_number = models.IntegerField(_("last number"), default=0)

    class Meta:
        verbose_name = _("invoice series")
        verbose_name_plural = _("invoice series")

    def __str__(self) -> str:
        return f"{self.year}: {self.last_number}"
