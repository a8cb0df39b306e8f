"""Usage and cost: sums by day, model, key, member, tag or outcome, as a chart and a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from access.models import APIKey
from access.selectors import keys
from accounts.models import User
from api.filters import PublicIdFormField
from billing.models import Outcome
from billing.selectors.sums import Charge, UsageSummary, UsageTotals, usage_summary
from billing.templatetags.billing import money
from console.pages import is_fragment, may, tenant_page
from console.templatetags.console import count
from core import clock
from core.errors import InvalidInput
from core.ids import parse_public_id
from tenants.selectors import members

SPANS = {
    "7d": gettext_lazy("7 days"),
    "30d": gettext_lazy("30 days"),
    "90d": gettext_lazy("90 days"),
    "month": gettext_lazy("This month"),
    "last-month": gettext_lazy("Last month"),
}
BY = {
    "day": gettext_lazy("Day"),
    "model": gettext_lazy("Model"),
    "key": gettext_lazy("Key"),
    "member": gettext_lazy("Member"),
    "tag": gettext_lazy("Tag"),
    "outcome": gettext_lazy("Outcome"),
}
MEASURES = {
    "charges": gettext_lazy("Cost"),
    "requests": gettext_lazy("Requests"),
    "tokens": gettext_lazy("Tokens"),
    "gpu": gettext_lazy("GPU time"),
}
MOST_BARS = 20


class UsageSearch(forms.Form):
    """What is summed up, and by what."""

    span = forms.ChoiceField(required=False, choices=list(SPANS.items()))
    by = forms.ChoiceField(required=False, choices=list(BY.items()))
    measure = forms.ChoiceField(required=False, choices=list(MEASURES.items()))
    model = forms.CharField(required=False, max_length=200)
    key = PublicIdFormField(required=False, prefix=APIKey.id_prefix)
    member = PublicIdFormField(required=False, prefix=User.id_prefix)


@require_safe
@tenant_page("billing.cost.read")
def index(request: HttpRequest) -> HttpResponse:
    """The page; the part below the choices alone, when htmx asks."""
    form = UsageSearch(request.GET)
    given: dict[str, Any] = form.cleaned_data if form.is_valid() else {}
    chosen = {
        "span": given.get("span") or "30d",
        "by": given.get("by") or "day",
        "measure": given.get("measure") or "charges",
    }
    since, until = span_of(chosen["span"])
    summary, problem = None, ""
    if form.is_valid():
        try:
            summary = usage_summary(
                by=chosen["by"],
                since=since,
                until=until,
                model=given["model"],
                key=given["key"],
                member=given["member"],
            )
        except InvalidInput as error:
            problem = error.message
    else:
        problem = _("The choice cannot be read. Start again from the menu.")
    context = {
        **chosen,
        "model": given.get("model", ""),
        "since": since,
        "until": until,
        "spans": SPANS.items(),
        "bys": BY.items(),
        "measures": MEASURES.items(),
        "summary": summary,
        "problem": problem,
        "rows": _rows(summary) if summary else [],
        "chart": _chart(summary, chosen, since, until) if summary and summary["groups"] else None,
        "narrowed": _narrowed(given),
        "sees_records": may(request, "billing.usage.read"),
    }
    template = "billing/_usage_sums.html" if is_fragment(request) else "billing/usage.html"
    return render(request, template, context)


def span_of(name: str) -> tuple[datetime, datetime]:
    """From midnight (UTC) of the first day to now, or to the end of last month."""
    now = clock.now().astimezone(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    month = today.replace(day=1)
    if name == "month":
        return month, now
    if name == "last-month":
        return (month - timedelta(days=1)).replace(day=1), month
    return today - timedelta(days=int(name.removesuffix("d")) - 1), now


def _rows(summary: UsageSummary) -> list[dict[str, Any]]:
    names = _names(summary)
    everything = summary["totals"]["requests"] or 1
    return [
        {
            **group,
            "name": names.get(group["group"] or "", group["group"] or _("none")),
            "share": round(100 * group["requests"] / everything, 1),
        }
        for group in summary["groups"]
    ]


def _names(summary: UsageSummary) -> dict[str, str]:
    """Groups that are ids, in words where they still exist. One query."""
    ids = [group["group"] for group in summary["groups"] if group["group"]]
    if summary["by"] == "key":
        found = keys().filter(pk__in=_uuids(ids, APIKey.id_prefix))
        return {key.public_id: f"{key.name} (atr-{key.prefix})" for key in found}
    if summary["by"] == "member":
        people = members().filter(user_id__in=_uuids(ids, User.id_prefix))
        return {each.user.public_id: each.user.email for each in people}
    if summary["by"] == "outcome":
        return {value: str(label) for value, label in Outcome.choices}
    return {}


def _uuids(ids: list[str], prefix: str) -> list[UUID]:
    return [parse_public_id(each, prefix) for each in ids]


def _narrowed(given: dict[str, Any]) -> str:
    """Which key or member the sums are of, in words."""
    if given.get("key"):
        key = keys().filter(pk=given["key"]).first()
        return _("Key: %(name)s") % {"name": key.name if key else "…"}
    if given.get("member"):
        each = members().filter(user_id=given["member"]).first()
        return _("Member: %(name)s") % {"name": each.user.email if each else "…"}
    return ""


def _chart(summary: UsageSummary, chosen: dict[str, str], since: datetime, until: datetime) -> dict[str, Any]:
    """What frontend/charts.js draws: names, and a series of numbers, with words for them, per currency or kind."""
    rows = {row["name"] if chosen["by"] != "day" else row["group"]: row for row in _rows(summary)}
    if chosen["by"] == "day":
        days = (until - timedelta(microseconds=1)).date() - since.date()
        names = [(since + timedelta(days=number)).date().isoformat() for number in range(days.days + 1)]
    else:
        names = list(rows)[:MOST_BARS]
    series = []
    for label, numbers, texts in _series(
        chosen["measure"], [rows.get(name) for name in names], summary["totals"]
    ):
        series.append({"name": label, "values": numbers, "texts": texts})
    return {"kind": "columns" if chosen["by"] == "day" else "bars", "names": names, "series": series}


def day_chart(summary: UsageSummary, measure: str) -> dict[str, Any]:
    """The chart of sums by day, for other pages."""
    chosen = {"by": "day", "measure": measure}
    return _chart(summary, chosen, summary["since"], summary["until"])


def _series(
    measure: str, rows: list[dict[str, Any] | None], totals: UsageTotals
) -> list[tuple[str, list[float], list[str]]]:
    if measure == "charges":
        codes = [charge["currency"] for charge in totals["charges"]] or ["CNY"]
        found = []
        for code in codes:
            amounts = [_nano(row["charges"] if row else [], code) for row in rows]
            found.append((code, [nano / 1e9 for nano in amounts], [money(nano, code) for nano in amounts]))
        return found
    if measure == "tokens":
        parts = (("prompt_tokens", _("Prompt")), ("completion_tokens", _("Answer")))
        numbers = {name: [int(row[name]) if row else 0 for row in rows] for name, _label in parts}
        return [
            (str(label), [float(each) for each in numbers[name]], [count(each) for each in numbers[name]])
            for name, label in parts
        ]
    if measure == "gpu":
        seconds = [float(row["gpu_seconds"]) if row else 0.0 for row in rows]
        return [
            (str(MEASURES[measure]), seconds, [_("%(number)s s") % {"number": f"{s:.1f}"} for s in seconds])
        ]
    numbers_of = [int(row["requests"]) if row else 0 for row in rows]
    return [(str(MEASURES["requests"]), [float(n) for n in numbers_of], [count(n) for n in numbers_of])]


def _nano(charges: list[Charge], code: str) -> int:
    return sum(charge["nano"] for charge in charges if charge["currency"] == code)
