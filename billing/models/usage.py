"""UsageRecord: what one request used, whatever its end. The money side is built on these rows."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.querysets import UsageRecordQuerySet
from core.models import TenantOwned
from core.scoping import TenantManager


class Outcome(models.TextChoices):
    """How a request ended."""

    COMPLETED = "completed", _("Completed")
    CANCELLED = "cancelled", _("Cancelled")  # the client went away
    FAILED = "failed", _("Failed")  # an error of the engine or of the platform
    REFUSED = "refused", _("Refused")  # turned away before an engine saw it
    LOST = "lost", _("Lost")  # nobody reported its end; what is known was written down by the reaper


class UsageRecord(TenantOwned):
    """One request and what it used.

    Keys, people, versions and deployments are ids only: they may be gone by now.

    Partitioned by month of `started_at` (docs/adr/0017): in PostgreSQL the primary key is (id, started_at).

    A record may arrive any number of times and by two parties; `billing.services.usage.ingest` keeps one row.
    """

    id_prefix = "use"

    request_id = models.CharField(_("request id"), max_length=100)
    key_id = models.UUIDField(_("key"), null=True, blank=True)
    user_id = models.UUIDField(_("user"), null=True, blank=True)
    model = models.CharField(_("model"), max_length=200)  # the public name that was asked for
    version_id = models.UUIDField(_("version"), null=True, blank=True)
    deployment_id = models.UUIDField(_("deployment"), null=True, blank=True)
    replica = models.CharField(_("replica"), max_length=200, blank=True)
    route = models.CharField(_("route"), max_length=100, blank=True)
    stream = models.BooleanField(_("stream"), default=False)
    prompt_tokens = models.PositiveBigIntegerField(_("prompt tokens"), default=0)
    cached_tokens = models.PositiveBigIntegerField(_("of these cached"), default=0)
    completion_tokens = models.PositiveBigIntegerField(_("completion tokens"), default=0)
    queue_ms = models.PositiveBigIntegerField(_("waiting time"), default=0)
    # None: no token ever came.
    first_token_ms = models.PositiveBigIntegerField(_("time to first token"), null=True, blank=True)
    duration_ms = models.PositiveBigIntegerField(_("duration"), default=0)
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices)
    error_code = models.CharField(_("error"), max_length=100, blank=True)
    end_user = models.CharField(_("end user"), max_length=256, blank=True)  # as the client named it
    # Engine busy time that was spent on this request, ns: reading the prompt, writing the answer (L12)
    gpu_prefill_ns = models.PositiveBigIntegerField(_("GPU time for the prompt"), default=0)
    gpu_decode_ns = models.PositiveBigIntegerField(_("GPU time for the answer"), default=0)
    tags = models.JSONField(_("tags"), default=dict, blank=True)  # the request's own, text to text
    # What admission decided: the price that holds whatever changes, what was set aside, and from which escrow
    price_id = models.UUIDField(_("price"), null=True, blank=True)
    hold_nano = models.BigIntegerField(_("held"), default=0)
    epoch = models.CharField(_("epoch"), max_length=100, blank=True, default="")
    # What settlement made of it
    is_settled = models.BooleanField(_("settled"), default=False)
    charge_nano = models.BigIntegerField(_("charged"), default=0)
    rated_nano = models.BigIntegerField(_("rated"), default=0)  # before the hold's bound
    escrow_nano = models.BigIntegerField(_("charged to the hold"), default=0)  # the rest came from the wallet
    currency = models.CharField(_("currency"), max_length=3, blank=True, default="")
    ledger_transaction_id = models.UUIDField(_("ledger transaction"), null=True, blank=True)
    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"))

    objects: ClassVar[Any] = TenantManager.from_queryset(UsageRecordQuerySet)()

    class Meta(TenantOwned.Meta):
        verbose_name = _("usage record")
        verbose_name_plural = _("usage records")
        ordering = ["-finished_at", "-id"]
        constraints = [
            # Per tenant: a refusal must not tell one tenant of another's request.
            # The table is partitioned by started_at, which is fixed at admission: every party writes the same.
            models.UniqueConstraint(fields=["tenant", "request_id", "started_at"], name="billing_usage_once"),
            models.CheckConstraint(
                condition=models.Q(outcome__in=Outcome.values), name="billing_usage_outcome_known"
            ),
            # Nothing is charged beyond what was held for it (L10), nor below nothing (F12).
            models.CheckConstraint(
                condition=models.Q(charge_nano__gte=0, charge_nano__lte=models.F("hold_nano"))
                & models.Q(escrow_nano__gte=0, escrow_nano__lte=models.F("hold_nano")),
                name="billing_usage_charge_within_hold",
            ),
        ]
        indexes = [
            # A tenant's usage, newest first, and over a span of time.
            models.Index(fields=["tenant", "-finished_at", "-id"], name="billing_usage_by_time"),
            # The requests behind a ledger transaction.
            models.Index(
                fields=["tenant", "ledger_transaction_id"],
                condition=models.Q(ledger_transaction_id__isnull=False),
                name="billing_usage_by_transaction",
            ),
            # A tenant's usage of a period in the order of exports, invoices and drills.
            models.Index(fields=["tenant", "started_at", "id"], name="billing_usage_by_start"),
        ]

    def __str__(self) -> str:
        return self.request_id
