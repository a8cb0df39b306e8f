"""How much a tenant has used of a plan in a month: what tiers and included amounts are measured by."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.prices import PricePlan
from billing.rating import COMPONENTS, Units
from core.models import TenantOwned


def _units(label: object) -> models.BigIntegerField:
    return models.BigIntegerField(label, default=0)  # type: ignore[arg-type]


class UsageCounter(TenantOwned):
    """Volumes of one calendar month (UTC) by one plan's price of one model, or of `*`.

    Written in the transaction of the charges that it led to. A request counts in the month in which it was
    admitted.
    """

    id_prefix = "uct"

    month = models.DateField(_("month"))  # its first day
    plan = models.ForeignKey(
        PricePlan, verbose_name=_("price plan"), on_delete=models.PROTECT, related_name="+"
    )
    model = models.CharField(_("model"), max_length=200)
    input = _units(_("input tokens"))
    cached = _units(_("cached input tokens"))
    output = _units(_("output tokens"))
    calls = _units(_("calls"))
    gpu_ns = _units(_("GPU nanoseconds"))
    slot_ms = _units(_("slot milliseconds"))

    class Meta(TenantOwned.Meta):
        verbose_name = _("usage counter")
        verbose_name_plural = _("usage counters")
        ordering = ["-month", "model"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "month", "plan", "model"], name="billing_usage_counter_once"
            ),
            models.CheckConstraint(
                condition=models.Q(**{f"{name}__gte": 0 for name in COMPONENTS}),
                name="billing_usage_counter_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.model}"

    @property
    def units(self) -> Units:
        """The volumes."""
        return Units(*(getattr(self, name) for name in COMPONENTS))
