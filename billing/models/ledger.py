"""The ledger: double-entry, append-only, one set of accounts per tenant and currency (L13).

An entry's amount is what its account gains. Money from outside leaves `payments`, so the entries of a transaction
always add up to zero. No account is shared between tenants: nobody's payments wait for anybody else's.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.money import CURRENCIES, CURRENCY_CHOICES, plain
from core.models import TenantOwned


class AccountKind(models.TextChoices):
    """What an account holds."""

    ADJUSTMENTS = "adjustments", _("Adjustments")  # the other side of corrections
    CREDIT = "credit", _("Credit granted")  # what the platform gave as a present, below zero
    ESCROW = "escrow", _("Set aside")  # for requests that are admitted or may be
    PAYMENTS = "payments", _("Payments")  # what came from outside, below zero
    REVENUE = "revenue", _("Revenue")  # what requests were charged
    UNCOLLECTABLE = "uncollectable", _("Uncollectable")  # used, and covered by nothing
    WALLET = "wallet", _("Wallet")  # what the tenant can spend, down to minus its credit line


class TransactionKind(models.TextChoices):
    """Why money moved."""

    TOP_UP = "top_up", _("Top-up")
    REFUND = "refund", _("Refund")
    CREDIT = "credit", _("Credit grant")
    GRANT = "grant", _("Set aside")
    RETURN = "return", _("Returned")
    USAGE = "usage", _("Usage")
    UNCOLLECTABLE = "uncollectable", _("Uncollectable")
    CORRECTION = "correction", _("Correction")


class EpochState(models.TextChoices):
    """Whether an escrow is still spent from."""

    OPEN = "open", _("Open")
    CLOSED = "closed", _("Closed")


class Account(TenantOwned):
    """One account; its balance is kept up by `billing.services.ledger.post` alone and checked by the verifier."""

    id_prefix = "acc"

    kind = models.CharField(_("kind"), max_length=16, choices=AccountKind.choices)
    currency = models.CharField(_("currency"), max_length=3, choices=CURRENCY_CHOICES)
    balance_nano = models.BigIntegerField(_("balance"), default=0)
    entry_count = models.PositiveBigIntegerField(_("entries"), default=0)
    # How far the wallet may go below zero: 0 is prepaid.
    credit_limit_nano = models.BigIntegerField(_("credit line"), default=0)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        ordering = ["tenant", "currency", "kind"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "currency", "kind"], name="billing_account_once"),
            # Target of the foreign keys that hold an entry's tenant and currency to its account's.
            models.UniqueConstraint(fields=["id", "tenant", "currency"], name="billing_account_owner"),
            models.CheckConstraint(
                condition=models.Q(kind__in=AccountKind.values), name="billing_account_kind_known"
            ),
            models.CheckConstraint(
                condition=models.Q(currency__in=list(CURRENCIES)), name="billing_account_currency_known"
            ),
            models.CheckConstraint(
                condition=models.Q(kind="wallet", credit_limit_nano__gte=0) | models.Q(credit_limit_nano=0),
                name="billing_account_credit_line",
            ),
            # No overspend, whatever the code above believes (L10).
            models.CheckConstraint(
                condition=~models.Q(kind="wallet")
                | models.Q(balance_nano__gte=-models.F("credit_limit_nano")),
                name="billing_account_not_overdrawn",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind__in=["escrow", "revenue"]) | models.Q(balance_nano__gte=0),
                name="billing_account_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.currency}"

    @property
    def spendable_nano(self) -> int:
        """What a wallet can still give: its balance and its credit line."""
        return self.balance_nano + self.credit_limit_nano


class LedgerTransaction(TenantOwned):
    """One movement of money: who, why, by what; its entries add up to zero. Append-only."""

    id_prefix = "txn"

    kind = models.CharField(_("kind"), max_length=16, choices=TransactionKind.choices)
    currency = models.CharField(_("currency"), max_length=3, choices=CURRENCY_CHOICES)
    reference = models.CharField(_("reference"), max_length=200, blank=True)
    reason = models.CharField(_("reason"), max_length=1_000, blank=True)
    actor_kind = models.CharField(_("kind of actor"), max_length=16)
    actor_id = models.UUIDField(_("actor's id"), null=True, blank=True)
    actor_label = models.CharField(_("actor"), max_length=254)
    approver_id = models.UUIDField(_("approver's id"), null=True, blank=True)
    approver_label = models.CharField(_("approver"), max_length=254, blank=True)
    # What is sent twice with the same key happens once; the digest tells whether it was the same thing.
    idempotency_key = models.CharField(_("idempotency key"), max_length=255)
    digest = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("ledger transaction")
        verbose_name_plural = _("ledger transactions")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "idempotency_key"], name="billing_transaction_once"),
            models.UniqueConstraint(fields=["id", "tenant"], name="billing_transaction_owner"),
            models.CheckConstraint(
                condition=models.Q(kind__in=TransactionKind.values), name="billing_transaction_kind_known"
            ),
        ]
        indexes = [models.Index(fields=["tenant", "-id"], name="billing_transaction_by_time")]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}".strip()


class LedgerEntry(TenantOwned):
    """One side of a transaction: what one account gained. Append-only.

    All entries of a transaction are written by one statement, which PostgreSQL refuses unless they add up to zero
    (trigger `billing_entries_balance`).
    """

    id_prefix = "ent"

    transaction = models.ForeignKey(
        LedgerTransaction,
        verbose_name=_("transaction"),
        on_delete=models.PROTECT,
        related_name="entries",
    )
    account = models.ForeignKey(
        Account, verbose_name=_("account"), on_delete=models.PROTECT, related_name="entries"
    )
    # Counts the account's entries from 1 without a gap: an entry that is gone, or slipped in, shows.
    number = models.PositiveBigIntegerField(_("number"))
    currency = models.CharField(_("currency"), max_length=3)
    amount_nano = models.BigIntegerField(_("amount"))
    balance_nano = models.BigIntegerField(_("balance afterwards"))

    class Meta(TenantOwned.Meta):
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        ordering = ["transaction", "id"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(amount_nano=0), name="billing_entry_not_nothing"),
            models.UniqueConstraint(fields=["account", "number"], name="billing_entry_once"),
        ]

    def __str__(self) -> str:
        return f"{plain(self.amount_nano)} {self.currency}"


class EscrowEpoch(TenantOwned):
    """What was set aside for one run of Valkey, and what became of it.

    granted - charged - returned is what that run may still spend; PostgreSQL itself refuses more.
    """

    id_prefix = "eep"

    epoch = models.CharField(_("epoch"), max_length=100)
    currency = models.CharField(_("currency"), max_length=3, choices=CURRENCY_CHOICES)
    granted_nano = models.BigIntegerField(_("set aside"), default=0)
    charged_nano = models.BigIntegerField(_("charged"), default=0)
    returned_nano = models.BigIntegerField(_("returned"), default=0)
    state = models.CharField(_("state"), max_length=8, choices=EpochState.choices, default=EpochState.OPEN)
    opened_at = models.DateTimeField(_("opened"), auto_now_add=True)
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("escrow epoch")
        verbose_name_plural = _("escrow epochs")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "epoch", "currency"], name="billing_epoch_once"),
            models.CheckConstraint(
                condition=models.Q(granted_nano__gte=0, charged_nano__gte=0, returned_nano__gte=0)
                & models.Q(granted_nano__gte=models.F("charged_nano") + models.F("returned_nano")),
                name="billing_epoch_not_overspent",
            ),
            # A closed epoch has given everything back.
            models.CheckConstraint(
                condition=models.Q(state="open", closed_at__isnull=True)
                | models.Q(
                    state="closed",
                    closed_at__isnull=False,
                    granted_nano=models.F("charged_nano") + models.F("returned_nano"),
                ),
                name="billing_epoch_closed_is_empty",
            ),
        ]
        indexes = [
            # Epochs that wait to be closed, over all tenants.
            models.Index(fields=["epoch"], condition=models.Q(state="open"), name="billing_epoch_open")
        ]

    def __str__(self) -> str:
        return f"{self.epoch} {self.currency}"

    @property
    def left_nano(self) -> int:
        """What the epoch may still spend."""
        return self.granted_nano - self.charged_nano - self.returned_nano
