"""Safety: which rules hold for the tenant, a bench to try a text on, and what they found lately."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from console.pages import actor_of, is_fragment, may, put_beside_field, tenant_page
from core import clock
from core.errors import DomainError
from safety import selectors
from safety.models.fields import RuleAction, RuleDirection, RuleKind
from safety.owners import Owner
from safety.services import bench
from safety.spec import Direction
from tenants.http import tenant_of

HIT_DAYS = 30
MOST_HITS = 50


class TryForm(forms.Form):
    """A text, and which way it goes."""

    text = forms.CharField(
        label=gettext_lazy("Text"),
        max_length=bench.MAX_TEXT,
        strip=False,
        widget=forms.Textarea(attrs={"class": "input", "rows": 5}),
    )
    direction = forms.ChoiceField(
        label=gettext_lazy("Direction"),
        choices=RuleDirection.choices,
        widget=forms.Select(attrs={"class": "input"}),
    )


@require_safe
@tenant_page("safety.hit.read")
def index(request: HttpRequest) -> HttpResponse:
    """The page."""
    tenant = tenant_of(request)
    since = (clock.now() - timedelta(days=HIT_DAYS - 1)).date()
    hits = (
        selectors.hits()
        .filter(day__gte=since)
        .values("rule", "category", "action", "direction")
        .annotate(matches=Sum("count"))
        .order_by("-matches", "rule")[:MOST_HITS]
    )
    reads_rules = may(request, "safety.rule.read")
    context = {
        "overview": selectors.overview(tenant.pk),
        "effective": [_worded(rule) for rule in selectors.effective_rules()] if reads_rules else [],
        "own": selectors.rules()[:200] if reads_rules else [],
        "hits": [
            {
                **hit,
                "action": RuleAction(hit["action"]).label,
                "direction": RuleDirection(hit["direction"]).label,
            }
            for hit in hits
        ],
        "form": TryForm() if may(request, "safety.rule.try") else None,
        "reads_rules": reads_rules,
    }
    return render(request, "tenants/safety.html", context)


# POST and never kept: people try real texts.
@require_POST
@never_cache
@tenant_page("safety.rule.try")
def try_text(request: HttpRequest) -> HttpResponse:
    """What the platform's rules and the tenant's draft would do with a text. Nothing of it is stored."""
    tenant = tenant_of(request)
    form = TryForm(request.POST)
    tried = None
    if form.is_valid():
        try:
            tried = bench.try_text(
                owner=Owner(tenant.pk),
                actor=actor_of(request),
                text=form.cleaned_data["text"],
                direction=Direction(form.cleaned_data["direction"]),
            )
        except DomainError as error:
            put_beside_field(form, error)
    context = {"form": form, "tried": tried}
    template = "tenants/_tried.html" if is_fragment(request) else "tenants/tried.html"
    return render(request, template, context, status=200 if is_fragment(request) or tried else 422)


def _worded(rule: dict[str, Any]) -> dict[str, Any]:
    return {
        **rule,
        "kind": RuleKind(str(rule["kind"])).label,
        "actions": [RuleAction(rule[name]).label for name in ("action_in", "action_out")],
        "is_changed": (rule["action_in"], rule["action_out"]) != (rule["platform_in"], rule["platform_out"]),
        "may_loosen": (rule["mildest_in"], rule["mildest_out"])
        != (rule["platform_in"], rule["platform_out"]),
    }
