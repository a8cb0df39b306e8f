"""Roll-ups: what usage records add up to, by hour and by day, for answers that need not read the records.

PostgreSQL keeps them by triggers of the usage table, in the transaction that writes the record, whoever writes
it (docs/adr/0017). Nothing else writes them but `billing.services.rollups.rebuild`.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import TenantOwned


class Grain(models.TextChoices):
    """How long a bucket is; both begin at full UTC hours or days."""

    HOUR = "hour", _("Hour")
    DAY = "day", _("Day")


class Measures(TenantOwned):
    """Sums over the usage records of one bucket; a record belongs to the bucket that it started in."""

    grain = models.CharField(_("grain"), max_length=4, choices=Grain.choices)
    begin = models.DateTimeField(_("beginning"))
    model = models.CharField(_("model"), max_length=200)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    requests = models.BigIntegerField(_("requests"), default=0)
    prompt_tokens = models.BigIntegerField(_("prompt tokens"), default=0)
    cached_tokens = models.BigIntegerField(_("of these cached"), default=0)
    completion_tokens = models.BigIntegerField(_("completion tokens"), default=0)
    gpu_ns = models.BigIntegerField(_("GPU time"), default=0)
    slot_ms = models.BigIntegerField(_("occupied slot time"), default=0)
    charge_nano = models.BigIntegerField(_("charge"), default=0)

    class Meta(TenantOwned.Meta):
        abstract = True


class UsageRollup(Measures):
    """Sums by model, key, person, outcome and price."""

    id_prefix = "rol"

    key_id = models.UUIDField(_("key"), null=True, blank=True)
    user_id = models.UUIDField(_("user"), null=True, blank=True)
    outcome = models.CharField(_("outcome"), max_length=16)
    price_id = models.UUIDField(_("price"), null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("usage roll-up")
        verbose_name_plural = _("usage roll-ups")
        constraints = [
            # Also serves every query of the dashboard: tenant, grain, span of time.
            models.UniqueConstraint(
                fields=[
                    *("tenant", "grain", "begin", "model", "key_id", "user_id", "outcome", "currency"),
                    "price_id",
                ],
                name="billing_rollup_once",
                nulls_distinct=False,
            ),
        ]
        indexes = [
            # The platform's staff: all tenants over a span of time.
            models.Index(fields=["grain", "begin"], name="billing_rollup_by_begin"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.grain} {self.begin:%Y-%m-%d %H:%M}"


class TagRollup(Measures):
    """Sums by tag (name and value) and model; a request counts once for each of its tags."""

    id_prefix = "tro"

    name = models.CharField(_("tag"), max_length=64)
    value = models.CharField(_("value"), max_length=200, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("tag roll-up")
        verbose_name_plural = _("tag roll-ups")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "grain", "name", "begin", "value", "model", "currency"],
                name="billing_tag_rollup_once",
            ),
        ]
        indexes = [models.Index(fields=["grain", "begin"], name="billing_tag_rollup_by_begin")]

    def __str__(self) -> str:
        return f"{self.name}={self.value} {self.grain} {self.begin:%Y-%m-%d %H:%M}"
