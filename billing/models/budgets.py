"""Budgets, the alerts that they gave, and the events that programs can read or be sent."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import TenantOwned, Timestamped


class BudgetScope(models.TextChoices):
    """What a budget watches over."""

    TENANT = "tenant", _("The whole tenant")
    KEY = "key", _("One key")
    MODEL = "model", _("One model")
    TAG = "tag", _("One tag")


class Budget(TenantOwned, Timestamped):
    """An amount of money or tokens per month (UTC, by when requests started) that is watched and told of.

    It refuses nothing: what refuses are limits. Exactly one of `limit_nano` and `limit_tokens` is set.
    """

    id_prefix = "bud"

    name = models.CharField(_("name"), max_length=100)
    scope = models.CharField(_("scope"), max_length=8, choices=BudgetScope.choices)
    key_id = models.UUIDField(_("key"), null=True, blank=True)
    model = models.CharField(_("model"), max_length=200, blank=True)
    tag_name = models.CharField(_("tag"), max_length=64, blank=True)
    tag_value = models.CharField(_("value"), max_length=200, blank=True)
    limit_nano = models.BigIntegerField(_("amount per month"), null=True, blank=True)
    limit_tokens = models.BigIntegerField(_("tokens per month"), null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    thresholds = models.JSONField(_("thresholds in percent"), default=list)  # of whole numbers, rising
    recipients = models.JSONField(_("more recipients"), default=list, blank=True)  # e-mail addresses
    is_active = models.BooleanField(_("active"), default=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="billing_budget_name_once"),
            models.CheckConstraint(
                condition=models.Q(limit_nano__gt=0, limit_tokens=None) & ~models.Q(currency="")
                | models.Q(limit_nano=None, limit_tokens__gt=0),
                name="billing_budget_one_limit",
            ),
            models.CheckConstraint(
                condition=models.Q(scope__in=BudgetScope.values), name="billing_budget_scope_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class BudgetAlert(TenantOwned):
    """A threshold that was reached in a month: at most one row each, whoever looked at the same time."""

    id_prefix = "bal"

    budget = models.ForeignKey(Budget, verbose_name=_("budget"), on_delete=models.CASCADE, related_name="+")
    period = models.DateField(_("month"))
    threshold = models.IntegerField(_("threshold in percent"))
    spent = models.BigIntegerField(_("used by then"))  # nano-units or tokens, as the budget's limit
    limit = models.BigIntegerField(_("limit at that time"))
    fired_at = models.DateTimeField(_("reached"), auto_now_add=True)
    # None: the e-mail still has to be sent.
    mailed_at = models.DateTimeField(_("e-mail sent"), null=True, blank=True)
    mail_attempts = models.IntegerField(_("attempts"), default=0)

    class Meta(TenantOwned.Meta):
        verbose_name = _("budget alert")
        verbose_name_plural = _("budget alerts")
        ordering = ["-fired_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "budget", "period", "threshold"], name="billing_budget_alert_once"
            ),
        ]
        indexes = [
            # Alerts whose e-mail is still to be sent.
            models.Index(
                fields=["fired_at"],
                name="billing_budget_alert_waiting",
                condition=models.Q(mailed_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.threshold} % {self.period:%Y-%m}"


class BillingEvent(TenantOwned):
    """Something that happened to a tenant's money, for programs: read at /api/v1/billing-events/, or sent."""

    id_prefix = "bev"

    type = models.CharField(_("type"), max_length=100)
    payload = models.JSONField(_("payload"), default=dict)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("billing event")
        verbose_name_plural = _("billing events")
        ordering = ["-id"]
        indexes = [models.Index(fields=["tenant", "-id"], name="billing_event_by_tenant")]

    def __str__(self) -> str:
        return str(self.type)
