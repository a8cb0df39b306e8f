"""Payments from and to the outside, and corrections that a second person approves."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.ledger import LedgerTransaction
from billing.money import CURRENCY_CHOICES
from core.models import TenantOwned, Timestamped


class PaymentState(models.TextChoices):
    """Where a payment is."""

    PENDING = "pending", _("Pending")
    CONFIRMED = "confirmed", _("Confirmed")
    FAILED = "failed", _("Failed")
    REFUNDED = "refunded", _("Refunded")


class Payment(TenantOwned, Timestamped):
    """Money that somebody pays in for a tenant through a provider, known by the provider's reference."""

    id_prefix = "pay"

    provider = models.CharField(_("provider"), max_length=50)
    reference = models.CharField(
        _("reference"), max_length=200
    )  # the provider's own, e.g. of a bank transfer
    amount_nano = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3, choices=CURRENCY_CHOICES)
    state = models.CharField(
        _("state"), max_length=16, choices=PaymentState.choices, default=PaymentState.PENDING
    )
    note = models.CharField(_("note"), max_length=500, blank=True)
    # Where the payer is sent, for providers with a page of their own.
    pay_url = models.CharField(_("payment page"), max_length=2_000, blank=True)
    created_by = models.CharField(_("created by"), max_length=254)
    transaction = models.ForeignKey(
        LedgerTransaction,
        verbose_name=_("ledger transaction"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "provider", "reference"], name="billing_payment_once"),
            models.CheckConstraint(condition=models.Q(amount_nano__gt=0), name="billing_payment_amount"),
            models.CheckConstraint(
                condition=models.Q(state__in=PaymentState.values), name="billing_payment_state_known"
            ),
            # Confirmed is what is in the ledger.
            models.CheckConstraint(
                condition=models.Q(state__in=["confirmed", "refunded"], transaction__isnull=False)
                | models.Q(state__in=["pending", "failed"], transaction__isnull=True),
                name="billing_payment_in_ledger",
            ),
        ]

    def __str__(self) -> str:
        return self.reference


class CorrectionState(models.TextChoices):
    """Where a correction is."""

    REQUESTED = "requested", _("Requested")
    APPROVED = "approved", _("Approved")
    REJECTED = "rejected", _("Rejected")


class Correction(TenantOwned, Timestamped):
    """An amount to be added to a wallet (or taken, below zero), asked for by one person and decided by another."""

    id_prefix = "cor"

    amount_nano = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3, choices=CURRENCY_CHOICES)
    reason = models.CharField(_("reason"), max_length=1_000)
    # What it corrects, where that is one transaction.
    corrects = models.ForeignKey(
        LedgerTransaction,
        verbose_name=_("corrects"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    state = models.CharField(
        _("state"), max_length=16, choices=CorrectionState.choices, default=CorrectionState.REQUESTED
    )
    requested_by_id = models.UUIDField(_("requested by (id)"), null=True, blank=True)
    requested_by = models.CharField(_("requested by"), max_length=254)
    decided_by_id = models.UUIDField(_("decided by (id)"), null=True, blank=True)
    decided_by = models.CharField(_("decided by"), max_length=254, blank=True)
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    transaction = models.ForeignKey(
        LedgerTransaction,
        verbose_name=_("ledger transaction"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("correction")
        verbose_name_plural = _("corrections")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(amount_nano=0), name="billing_correction_amount"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="billing_correction_reason"),
            # Four eyes: whoever approves is somebody, and somebody else.
            models.CheckConstraint(
                condition=~models.Q(state="approved")
                | (
                    models.Q(decided_by_id__isnull=False, transaction__isnull=False)
                    & (
                        models.Q(requested_by_id__isnull=True)
                        | ~models.Q(decided_by_id=models.F("requested_by_id"))
                    )
                ),
                name="billing_correction_four_eyes",
            ),
            models.CheckConstraint(
                condition=models.Q(state="approved") | models.Q(transaction__isnull=True),
                name="billing_correction_in_ledger",
            ),
        ]
        indexes = [models.Index(fields=["tenant", "-id"], name="billing_correction_by_time")]

    def __str__(self) -> str:
        return self.public_id
