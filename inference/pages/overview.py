"""The tenant's overview: what it spends and calls, how fast it is answered, and what needs somebody's attention."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from access.models import APIKey
from access.selectors import in_state, keys
from billing.pages.usage import day_chart
from billing.periods import month_of
from billing.selectors import budgets, ledger
from billing.selectors.sums import UsageSummary, usage_summary
from console.pages import may, tenant_page
from core import clock
from inference.call_logs import selectors
from inference.call_logs.models import CallLog, LogOutcome
from inference.limit_status import limits_in_use
from tenants.http import tenant_of

# Percentiles are of the latest so many answers of a day: what a page may cost is bounded.
MOST_ANSWERS = 10_000
NEAR = 0.8
SOON = timedelta(days=7)
MANY_FAILURES = 0.05
_FAILED = ("failed", "lost")


@dataclass(frozen=True, slots=True)
class Attention:
    """Something to look at: how grave it is (`bad`, `warn`), a sentence, and where to do something about it."""

    grade: str
    text: str
    url: str


@require_safe
@tenant_page("billing.cost.read")
def index(request: HttpRequest) -> HttpResponse:
    """The page."""
    now = clock.now().astimezone(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    today = usage_summary(by="outcome", since=now - timedelta(days=1), until=now)
    days = usage_summary(by="day", since=now - timedelta(days=29), until=now)
    context = {
        "month": usage_summary(by="model", since=month, until=now),
        "today": today,
        "failures": _failures(today),
        "speed": _speed(selectors.call_logs()) if may(request, "inference.log.read") else None,
        "chart": day_chart(days, "requests") if days["groups"] else None,
        "attention": _attention(request, today),
        "sees_logs": may(request, "inference.log.read"),
    }
    return render(request, "inference/overview.html", context)


def _failures(today: UsageSummary) -> float:
    """Which part of a day's requests failed; who was refused or hung up does not count."""
    everything = today["totals"]["requests"]
    failed = sum(group["requests"] for group in today["groups"] if group["group"] in _FAILED)
    return failed / everything if everything else 0.0


def _speed(rows: QuerySet[CallLog]) -> dict[str, Any] | None:
    """Percentiles of a day's answers: of all of the answer, of its first token, of waiting. One query."""
    found = list(
        rows.filter(started_at__gte=clock.now() - timedelta(days=1), outcome=LogOutcome.COMPLETED)
        .order_by("-started_at")
        .values_list("duration_ms", "first_token_ms", "queue_ms")[:MOST_ANSWERS]
    )
    if not found:
        return None
    columns = {
        "duration": [row[0] for row in found],
        "first": [row[1] for row in found if row[1] is not None],
        "queue": [row[2] for row in found],
    }
    return {name: {p: percentile(each, p) for p in (50, 95, 99)} for name, each in columns.items()} | {
        "answers": len(found)
    }


def percentile(values: list[int], part: int) -> int | None:
    """The smallest value that at least `part` percent of the values do not exceed (nearest rank); none of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * part // 100) - 1)]


def _attention(request: HttpRequest, today: UsageSummary) -> list[Attention]:
    found = []
    tenant = tenant_of(request)
    if not tenant.is_active:
        found.append(Attention("bad", _("This tenant is suspended: models cannot be called."), ""))
    if may(request, "billing.wallet.read"):
        found += _money(tenant)
    if may(request, "tenants.limit.read"):
        found += _limits(tenant)
    if may(request, "access.key.read"):
        found += _keys(in_state(keys(), "active"))
    if _failures(today) > MANY_FAILURES:
        url = f"{reverse('calls:logs')}?span=24h&outcome=failed" if may(request, "inference.log.read") else ""
        found.append(Attention("bad", _("More than one in twenty of today's requests failed."), url))
    return sorted(found, key=lambda each: each.grade != "bad")


def _money(tenant: Any) -> list[Attention]:
    found = []
    wallet = ledger.wallets_of(tenant_id=tenant.pk)["current"]
    url = reverse("billing:money")
    if wallet is not None and wallet["spendable"] + wallet["held"] <= 0:
        found.append(Attention("bad", _("The wallet is empty: requests are refused."), url))
    for budget in budgets.budgets().filter(is_active=True)[:20]:
        limit = budget.limit_nano if budget.limit_nano is not None else budget.limit_tokens
        spent = budgets.spent(budget, month_of(clock.now()))
        if limit and spent >= NEAR * limit:
            text = _("The budget “%(name)s” is used to %(part)d %%.")
            grade = "bad" if spent >= limit else "warn"
            found.append(Attention(grade, text % {"name": budget.name, "part": 100 * spent // limit}, url))
    return found


def _limits(tenant: Any) -> list[Attention]:
    try:
        in_use = limits_in_use(tenant_id=tenant.pk)
    except RedisError:
        return []
    return [
        Attention(
            "bad" if use.remaining == 0 else "warn",
            _("The limit “%(name)s” is used to %(part)d %%.")
            % {"name": use.limit.get_kind_display(), "part": 100 * use.used // use.limit.value},
            reverse("calls:limits"),
        )
        for use in in_use
        if use.limit.value and use.used >= NEAR * use.limit.value
    ]


def _keys(active: QuerySet[APIKey]) -> list[Attention]:
    number = active.filter(expires_at__lt=clock.now() + SOON, rotated_to__isnull=True).count()
    if not number:
        return []
    text = ngettext("%(number)d key ends within a week.", "%(number)d keys end within a week.", number)
    return [Attention("warn", text % {"number": number}, reverse("tenant:keys"))]
