"""What became of rules: texts that wait for a person, and how often what matched."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import Identified, TenantOwned, Timestamped
from safety.models.fields import ReviewState, RuleAction, RuleDirection


class Review(TenantOwned, Timestamped):
    """A text that was refused until a person approves it: one row per text and direction.

    The text is encrypted with a key of the tenant's own; `digest` is an HMAC of the tenant's, so that equal texts of
    two tenants share nothing.
    """

    id_prefix = "rvw"

    digest = models.CharField(_("digest"), max_length=64, editable=False)
    direction = models.CharField(_("direction"), max_length=4, choices=RuleDirection.choices)
    text_cipher = models.TextField(_("text"), blank=True, editable=False)  # empty: forgotten
    text_length = models.PositiveIntegerField(_("length"), default=0)
    is_cut = models.BooleanField(_("cut"), default=False)
    state = models.CharField(
        _("state"), max_length=16, choices=ReviewState.choices, default=ReviewState.PENDING
    )
    verdicts = models.JSONField(_("verdicts"), default=list)
    rule = models.CharField(_("rule"), max_length=100)
    category = models.CharField(_("category"), max_length=50)
    model = models.CharField(_("model"), max_length=200, blank=True)
    request_id = models.CharField(_("request id"), max_length=100, blank=True)
    times_refused = models.PositiveIntegerField(_("times refused"), default=1)
    decided_at = models.DateTimeField(_("decided"), null=True)
    decided_by_id = models.UUIDField(_("decider's id"), null=True)
    decided_by = models.CharField(_("decided by"), max_length=254, blank=True)
    reason = models.CharField(_("reason"), max_length=1000, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("review")
        verbose_name_plural = _("reviews")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "digest", "direction"], name="safety_review_once"),
        ]
        indexes = [
            # What waits for a person, newest first; and what was approved, for the loader.
            models.Index(fields=["tenant", "state", "-id"], name="safety_review_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.direction}"


class HitCount(TenantOwned):
    """How often a rule's version matched on a day (UTC), by what it did and which way the text went."""

    id_prefix = "hit"

    day = models.DateField(_("day"))
    rule = models.CharField(_("rule"), max_length=100)
    version = models.PositiveIntegerField(_("version"))
    category = models.CharField(_("category"), max_length=50)
    action = models.CharField(_("action"), max_length=16, choices=RuleAction.choices)
    direction = models.CharField(_("direction"), max_length=4, choices=RuleDirection.choices)
    count = models.PositiveBigIntegerField(_("matches"), default=0)

    class Meta(TenantOwned.Meta):
        verbose_name = _("hits of a rule")
        verbose_name_plural = _("hits of rules")
        ordering = ["-day", "rule"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "day", "rule", "version", "action", "direction"], name="safety_hit_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day:%Y-%m-%d} {self.rule} {self.count}"


class HitBatch(Identified):
    """A batch of hits that was counted: what is delivered twice is counted once. Forgotten after some days."""

    id_prefix = "htb"
    tenant_scope: ClassVar[str] = "global"

    counted_at = models.DateTimeField(_("counted"), auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = _("batch of hits")
        verbose_name_plural = _("batches of hits")

    def __str__(self) -> str:
        return str(self.pk)
