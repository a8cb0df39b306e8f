"""Price plans, their versions and prices, and which plan a tenant has at which time.

Versions and prices are never changed or removed: a mistake is corrected by a further version (and, for what was
charged by it, by a correction). What a request is charged by is one Price row, pinned when it is admitted.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.money import CURRENCIES, CURRENCY_CHOICES
from billing.rating import PriceTerms, RateCard, rate_card
from core.models import Identified, TenantOwned, Timestamped

SLUG_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$"
EVERY_MODEL = "*"
# A million currency units for a million tokens: far above any price, far below any overflow.
MOST_PRICE_NANO = 10**15

slug_validator = RegexValidator(
    SLUG_PATTERN.replace("$", r"\Z"),
    _("Use lower-case letters, digits and hyphens; begin and end with a letter or digit."),
    code="invalid_slug",
)


class PricePlan(Identified, Timestamped):
    """A named set of prices in one currency, for the tenants that subscribe to it. The platform's own."""

    id_prefix = "ppl"
    tenant_scope: ClassVar[str] = "global"

    slug = models.CharField(_("short name"), max_length=50, unique=True, validators=[slug_validator])
    name = models.CharField(_("name"), max_length=100)
    currency = models.CharField(_("currency"), max_length=3, choices=CURRENCY_CHOICES)

    objects = models.Manager["PricePlan"]()
    unscoped = models.Manager["PricePlan"]()

    class Meta:
        verbose_name = _("price plan")
        verbose_name_plural = _("price plans")
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(currency__in=list(CURRENCIES)), name="billing_plan_currency_known"
            ),
            models.CheckConstraint(
                condition=models.Q(slug__regex=SLUG_PATTERN), name="billing_plan_slug_form"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class PricePlanVersion(Identified):
    """The prices of a plan from a moment on. Append-only, with its prices.

    In force at a moment is the version with the latest `valid_from` that has come, and of several the one with
    the highest number: a version that is not yet in force is replaced by another with the same `valid_from`.
    """

    id_prefix = "ppv"
    tenant_scope: ClassVar[str] = "global"

    plan = models.ForeignKey(
        PricePlan, verbose_name=_("price plan"), on_delete=models.PROTECT, related_name="versions"
    )
    number = models.PositiveIntegerField(_("number"))
    valid_from = models.DateTimeField(_("valid from"))
    note = models.CharField(_("note"), max_length=500, blank=True)
    # The database's time at the beginning of the transaction: prices join a version in its own transaction only.
    created_at = models.DateTimeField(_("created"), db_default=TransactionNow(), editable=False)

    class Meta:
        verbose_name = _("price plan version")
        verbose_name_plural = _("price plan versions")
        ordering = ["plan", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "number"], name="billing_plan_version_once"),
        ]
        indexes = [
            models.Index(fields=["plan", "-valid_from", "-number"], name="billing_plan_version_in_force")
        ]

    def __str__(self) -> str:
        return f"{self.plan} v{self.number}"


def _nano(label: object) -> models.BigIntegerField:
    return models.BigIntegerField(label, default=0)  # type: ignore[arg-type]


class Price(Identified):
    """What requests to one model cost, in nano-units; `*` holds for every model without a price of its own."""

    id_prefix = "prc"
    tenant_scope: ClassVar[str] = "global"

    version = models.ForeignKey(
        PricePlanVersion, verbose_name=_("version"), on_delete=models.PROTECT, related_name="prices"
    )
    model = models.CharField(_("model"), max_length=200)  # a public name, or EVERY_MODEL
    input_nano = _nano(_("input, per million tokens"))
    cached_nano = _nano(_("cached input, per million tokens"))
    output_nano = _nano(_("output, per million tokens"))
    call_nano = _nano(_("per call"))
    gpu_second_nano = _nano(_("per GPU second"))
    slot_hour_nano = _nano(_("per hour of an occupied slot"))
    # {component: [[from this volume of the month, nano], …]}; components and units are those of billing.rating.
    tiers = models.JSONField(_("tiers"), default=dict, blank=True)
    # {component: volume that is free every month}
    included = models.JSONField(_("included every month"), default=dict, blank=True)

    class Meta:
        verbose_name = _("price")
        verbose_name_plural = _("prices")
        ordering = ["version", "model"]
        constraints = [
            models.UniqueConstraint(fields=["version", "model"], name="billing_price_once"),
            *(
                models.CheckConstraint(
                    condition=models.Q(**{f"{name}__gte": 0, f"{name}__lte": MOST_PRICE_NANO}),
                    name=f"billing_price_{name}",
                )
                for name in (
                    *("input_nano", "cached_nano", "output_nano"),
                    *("call_nano", "gpu_second_nano", "slot_hour_nano"),
                )
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version}: {self.model}"

    @property
    def base(self) -> tuple[int, ...]:
        """The prices of the first tiers, in the order of billing.rating.COMPONENTS."""
        return (
            *(self.input_nano, self.cached_nano, self.output_nano),
            *(self.call_nano, self.gpu_second_nano, self.slot_hour_nano),
        )

    @property
    def card(self) -> RateCard:
        """For rating."""
        return rate_card(base=self.base, tiers=self.tiers, included=self.included)

    @property
    def terms(self) -> PriceTerms:
        """For admission: the highest price of each component."""
        return PriceTerms(str(self.pk), *self.card.highest())


class PriceSubscription(TenantOwned):
    """From a moment on, a tenant is charged by a plan; without a plan it is not charged. Append-only.

    In force is the row with the latest `valid_from` that has come, and of several the newest.
    """

    id_prefix = "sub"

    plan = models.ForeignKey(
        PricePlan,
        verbose_name=_("price plan"),
        on_delete=models.PROTECT,
        related_name="subscriptions",
        null=True,
        blank=True,
        help_text=_("Empty: from then on the tenant is not charged."),
    )
    valid_from = models.DateTimeField(_("valid from"))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("price subscription")
        verbose_name_plural = _("price subscriptions")
        ordering = ["-valid_from", "-id"]
        indexes = [
            models.Index(fields=["tenant", "-valid_from", "-id"], name="billing_subscription_in_force")
        ]

    def __str__(self) -> str:
        return f"{self.plan or '-'} ({self.valid_from:%Y-%m-%d})"
