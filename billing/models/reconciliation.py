"""Reconciliation: what engines counted, what was recorded, what was charged, what was invoiced: side by side."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import Identified


class EngineTotal(Identified):
    """What one replica counted in its life so far: the engine's own figures, independent of usage records."""

    id_prefix = "egt"
    tenant_scope: ClassVar[str] = "global"

    replica = models.CharField(_("replica"), max_length=200)
    deployment_id = models.UUIDField(_("deployment"), null=True, blank=True)
    begun_at = models.DateTimeField(_("begun"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    reported_at = models.DateTimeField(_("reported"), auto_now=True)
    requests = models.BigIntegerField(_("requests"), default=0)
    prompt_tokens = models.BigIntegerField(_("prompt tokens"), default=0)
    completion_tokens = models.BigIntegerField(_("completion tokens"), default=0)
    busy_ns = models.BigIntegerField(_("busy time"), default=0)
    attributed_ns = models.BigIntegerField(_("of this attributed to requests"), default=0)

    class Meta:
        verbose_name = _("engine total")
        verbose_name_plural = _("engine totals")
        constraints = [
            models.UniqueConstraint(fields=["replica", "begun_at"], name="billing_engine_total_once")
        ]
        indexes = [models.Index(fields=["begun_at"], name="billing_engine_total_by_time")]

    def __str__(self) -> str:
        return self.replica


class ReconciliationState(models.TextChoices):
    """How a comparison came out."""

    BALANCED = "balanced", _("Balanced")
    DIFFERENT = "different", _("With differences")


class Check(models.TextChoices):
    """What is compared with what."""

    ENGINE = "engine", _("Engine counters and usage records")
    BUSY = "busy", _("Engine busy time and GPU time of requests")
    ROLLUP = "rollup", _("Usage records and roll-ups")
    LEDGER = "ledger", _("Usage records and ledger")
    INVOICE = "invoice", _("Usage records and invoices")


class Cause(models.TextChoices):
    """What most likely made two figures differ."""

    LOST = "lost_requests", _("requests were lost with their engine")
    ON_THEIR_WAY = "on_their_way", _("records are still on their way")
    MISSING = "records_missing", _("records are missing")
    REPORT_OLDER = "report_older", _("the engine's last report is older")
    ELSEWHERE = "counted_elsewhere", _("another replica counted them")
    NOT_ATTRIBUTED = "not_attributed", _("the engine gave time to no request")
    STALE = "rollups_stale", _("the roll-ups are older")
    BOOKED = "booked_without_record", _("booked without a record")
    UNBOOKED = "record_without_booking", _("a record without a booking")
    LATE = "late_usage", _("usage came in after closing; the next invoice has it")
    LINES = "lines_and_total", _("the lines do not add up to the total")


class Reconciliation(Identified):
    """One comparison over a span of time. The platform's own: tenants are named by their public id only."""

    id_prefix = "rec"
    tenant_scope: ClassVar[str] = "global"

    begin = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("to"))
    state = models.CharField(_("state"), max_length=12, choices=ReconciliationState.choices)
    checks = models.IntegerField(_("comparisons"))
    ran_at = models.DateTimeField(_("run"), auto_now_add=True)
    ran_by = models.CharField(_("run by"), max_length=254)

    class Meta:
        verbose_name = _("reconciliation")
        verbose_name_plural = _("reconciliations")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.begin:%Y-%m-%d} – {self.end:%Y-%m-%d}"


class ReconciliationDifference(Identified):
    """Two figures that should be equal and are not, with what most likely made them so."""

    id_prefix = "red"
    tenant_scope: ClassVar[str] = "global"

    reconciliation = models.ForeignKey(
        Reconciliation,
        verbose_name=_("reconciliation"),
        on_delete=models.CASCADE,
        related_name="differences",
    )
    # `check` is a method of every model.
    kind = models.CharField(_("check"), max_length=12, choices=Check.choices)
    subject = models.CharField(_("subject"), max_length=250)  # a tenant's public id, or a replica's name
    measure = models.CharField(_("measure"), max_length=32)
    left = models.BigIntegerField(_("first figure"))
    right = models.BigIntegerField(_("second figure"))
    cause = models.CharField(_("probable cause"), max_length=32)

    class Meta:
        verbose_name = _("difference")
        verbose_name_plural = _("differences")
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.subject} {self.measure}: {self.left} ≠ {self.right}"

    @property
    def cause_text(self) -> str:
        """The probable cause in the reader's language."""
        return str(Cause(self.cause).label) if self.cause in Cause.values else self.cause
