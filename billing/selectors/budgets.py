"""Reads of budgets, their alerts, and events."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.db.models import F, QuerySet, Sum

from billing.models import BillingEvent, Budget, BudgetAlert, BudgetScope, Grain, TagRollup, UsageRollup
from billing.periods import span_of


def budgets() -> QuerySet[Budget]:
    """The active tenant's budgets, by name."""
    return Budget.objects.order_by("name", "id")


def alerts_of(budget: Budget) -> QuerySet[BudgetAlert]:
    """What a budget has told of, the latest first."""
    return BudgetAlert.objects.filter(budget=budget).order_by("-fired_at", "-id")


def billing_events() -> QuerySet[BillingEvent]:
    """The active tenant's billing events, newest first."""
    return BillingEvent.objects.order_by("-id")


def spent(budget: Budget, month: date) -> int:
    """What was used of a budget in a month: nano-units of its currency, or tokens. One query over roll-ups."""
    begin, end = span_of(month)
    rows: QuerySet[Any]
    if budget.scope == BudgetScope.TAG:
        rows = TagRollup.objects.filter(name=budget.tag_name, value=budget.tag_value)
    elif budget.scope == BudgetScope.KEY:
        rows = UsageRollup.objects.filter(key_id=budget.key_id)
    elif budget.scope == BudgetScope.MODEL:
        rows = UsageRollup.objects.filter(model=budget.model)
    else:
        rows = UsageRollup.objects.get_queryset()
    rows = rows.filter(tenant_id=budget.tenant_id, grain=Grain.DAY, begin__gte=begin, begin__lt=end)
    if budget.limit_nano is not None:
        found = rows.filter(currency=budget.currency).aggregate(total=Sum("charge_nano"))
    else:
        found = rows.aggregate(total=Sum(F("prompt_tokens") + F("completion_tokens")))
    return int(found["total"] or 0)
