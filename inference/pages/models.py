"""What the tenant may call: each model with its context, its price, how it stands, and how fast it answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from billing.models.prices import EVERY_MODEL
from billing.selectors.prices import prices_in_force
from console.examples import first_calls
from console.pages import base_url, may, tenant_page
from core import clock
from inference.call_logs import selectors
from inference.call_logs.models import LogOutcome
from inference.pages.overview import MOST_ANSWERS, percentile
from inference.selectors import deployment_status
from models_registry.selectors import routes_for
from tenants.http import tenant_of

CHAT = "chat"


@require_safe
@tenant_page("models_registry.model.read")
def index(request: HttpRequest) -> HttpResponse:
    """The page. Two round trips to Valkey per deployment."""
    tenant = tenant_of(request)
    user_id = cast(UUID, request.user.pk)
    routes = [
        route
        for route in routes_for(tenant_id=tenant.pk)
        if route.allowed_user_ids is None or user_id in route.allowed_user_ids
    ]
    plan, prices = prices_in_force(tenant_id=tenant.pk) if may(request, "billing.price.read") else (None, [])
    by_model = {price.model: price for price in prices}
    states = _states({route.deployment_id for route in routes})
    speed = _speed() if may(request, "inference.log.read") else {}
    rows = [
        {
            "route": route,
            "price": by_model.get(route.model_name or route.name) or by_model.get(EVERY_MODEL),
            "state": states.get(route.deployment_id),
            "speed": speed.get(route.name),
            "example": _example(request, route.name) if route.task == CHAT else "",
        }
        for route in routes
    ]
    context = {
        "rows": rows,
        "plan": plan,
        "sees_prices": may(request, "billing.price.read"),
        "may_invoke": may(request, "inference.model.invoke"),
        "sees_logs": may(request, "inference.log.read"),
    }
    return render(request, "inference/models.html", context)


def _states(deployments: Iterable[UUID]) -> dict[UUID, dict[str, Any]]:
    """How each deployment stands; none while Valkey cannot say."""
    try:
        return {each: deployment_status(each) for each in deployments}
    except RedisError:
        return {}


def _speed() -> dict[str, dict[str, int | None]]:
    """By model, percentiles of the latest answers of a day. One query."""
    found = (
        selectors.call_logs()
        .filter(started_at__gte=clock.now() - timedelta(days=1), outcome=LogOutcome.COMPLETED)
        .order_by("-started_at")
        .values_list("model", "duration_ms", "first_token_ms")[:MOST_ANSWERS]
    )
    durations: defaultdict[str, list[int]] = defaultdict(list)
    firsts: defaultdict[str, list[int]] = defaultdict(list)
    for model, duration, first in found:
        durations[model].append(duration)
        if first is not None:
            firsts[model].append(first)
    return {
        model: {
            "p50": percentile(each, 50),
            "p95": percentile(each, 95),
            "first_p95": percentile(firsts[model], 95),
        }
        for model, each in durations.items()
    }


def _example(request: HttpRequest, model: str) -> str:
    return first_calls(base_url=base_url(request), model=model, question=_("What is Atrium?"))[0].code
