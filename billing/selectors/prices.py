"""Which prices hold for whom, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from billing.models import Price, PricePlan, PricePlanVersion, PriceSubscription
from core import clock
from core.errors import NotFound
from core.ids import parse_public_id
from core.scoping import ScopeError, current_scope


def price_plans() -> QuerySet[PricePlan]:
    """The plans that the caller may know of: behind the platform door all, in a tenant those it has had."""
    plans = PricePlan.objects.order_by("-id")
    scope = current_scope()
    if scope.platform:
        return plans
    if scope.tenant_id is None:
        raise ScopeError("no tenant is set: price plans are shown to their tenants and to staff")
    return plans.filter(pk__in=PriceSubscription.objects.filter(plan__isnull=False).values("plan_id"))


def price_plan_by_public_id(*, public_id: str) -> PricePlan:
    """One plan in sight by its `ppl_…` id. Raises NotFound."""
    try:
        plan = price_plans().filter(pk=parse_public_id(public_id, PricePlan.id_prefix)).first()
    except ValueError:
        plan = None
    if plan is None:
        raise NotFound(_("There is no such price plan."))
    return plan


def subscriptions() -> QuerySet[Any]:
    """The subscriptions in scope, the newest first."""
    return PriceSubscription.objects.select_related("plan").order_by("-id")


def subscription_in_force(*, tenant_id: Any, at: datetime | None = None) -> PriceSubscription | None:
    """By which plan the tenant is charged at a moment (default: now); none where it never had one. One query."""
    rows = PriceSubscription.objects.filter(tenant_id=tenant_id, valid_from__lte=at or clock.now())
    found: PriceSubscription | None = rows.select_related("plan").order_by("-valid_from", "-id").first()
    return found


def version_in_force(*, plan: PricePlan, at: datetime | None = None) -> PricePlanVersion | None:
    """The version of a plan that holds at a moment (default: now), if one does yet. One query."""
    rows = PricePlanVersion.objects.filter(plan=plan, valid_from__lte=at or clock.now())
    return rows.order_by("-valid_from", "-number").first()


def versions_of(*, plan: PricePlan) -> QuerySet[PricePlanVersion]:
    """All versions of a plan with their prices, the newest first."""
    return PricePlanVersion.objects.filter(plan=plan).prefetch_related("prices").order_by("-id")


def prices_in_force(*, tenant_id: Any, at: datetime | None = None) -> tuple[PricePlan | None, list[Price]]:
    """The tenant's plan and its prices at a moment (default: now), by model. Three queries.

    No plan: the tenant is not charged. A plan without a version in force has no prices: it sells nothing yet.
    """
    subscription = subscription_in_force(tenant_id=tenant_id, at=at)
    if subscription is None or subscription.plan is None:
        return None, []
    version = version_in_force(plan=subscription.plan, at=at)
    if version is None:
        return subscription.plan, []
    return subscription.plan, list(Price.objects.filter(version=version).order_by("model"))
