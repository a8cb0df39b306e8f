"""Settings of the tenant: its name, what is kept of its requests, and a copy of all of its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from console.pages import actor_of, may, put_beside_field, tenant_page
from core.errors import DomainError
from inference.call_logs import services
from inference.call_logs.models import MAX_RETENTION_DAYS, LogLevel
from inference.call_logs.selectors import policy_in_scope
from tenants import selectors
from tenants.http import tenant_of
from tenants.models import WorkState
from tenants.services import exports, tenants

LATEST = 5
_RUNNING = (WorkState.WAITING, WorkState.RUNNING)


class NameForm(forms.Form):
    """The name that people read."""

    name = forms.CharField(
        label=gettext_lazy("Name of the tenant"),
        max_length=100,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "organization"}),
    )


class PolicyForm(forms.Form):
    """What is kept of requests."""

    level = forms.ChoiceField(
        label=gettext_lazy("What is kept of a request"),
        choices=LogLevel.choices,
        widget=forms.Select(attrs={"class": "input"}),
    )
    sample_percent = forms.IntegerField(
        label=gettext_lazy("Of how many of a hundred requests"),
        min_value=0,
        max_value=100,
        widget=forms.NumberInput(attrs={"class": "input"}),
    )
    retention_days = forms.IntegerField(
        label=gettext_lazy("For how many days"),
        min_value=1,
        max_value=MAX_RETENTION_DAYS,
        help_text=gettext_lazy("A shorter time is applied to what is kept already, within a day."),
        widget=forms.NumberInput(attrs={"class": "input"}),
    )


@require_safe
@tenant_page("inference.log_policy.read")
def index(request: HttpRequest) -> HttpResponse:
    """The page, as things are."""
    return _page(request)


@require_POST
@tenant_page("tenants.tenant.rename")
def rename(request: HttpRequest) -> HttpResponse:
    """Another name."""

    def save(given: dict[str, Any]) -> None:
        tenant = selectors.tenant_by_id(tenant_id=tenant_of(request).pk)
        tenants.rename(tenant=tenant, actor=actor_of(request), name=given["name"])

    return _saved(request, "name", NameForm(request.POST), save, _("Saved."))


@require_POST
@tenant_page("inference.log_policy.change")
def policy(request: HttpRequest) -> HttpResponse:
    """Another data policy."""

    def save(given: dict[str, Any]) -> None:
        services.set_policy(actor=actor_of(request), **given)

    return _saved(request, "policy", PolicyForm(request.POST), save, _("Saved. It holds within a second."))


@require_POST
@tenant_page("tenants.export.create")
def export(request: HttpRequest) -> HttpResponse:
    """Have a copy of all of the tenant's data made."""
    tenant = tenant_of(request)
    try:
        exports.request(actor=actor_of(request), tenant_id=tenant.pk)
    except DomainError as error:
        messages.error(request, error.message)
    return redirect("calls:settings")


@require_safe
@tenant_page("tenants.export.read")
def export_states(request: HttpRequest) -> HttpResponse:
    """How far the exports are; the page asks again while one is being made."""
    return render(request, "inference/_exports.html", _exports(request))


def _saved(
    request: HttpRequest, name: str, form: forms.Form, save: Callable[[dict[str, Any]], None], said: str
) -> HttpResponse:
    """Save what the form says, or show the page again with what is wrong beside its field."""
    if form.is_valid():
        try:
            save(form.cleaned_data)
        except DomainError as error:
            put_beside_field(form, error)
        else:
            messages.success(request, said)
            return redirect("calls:settings")
    return _page(request, **{name: form})


def _page(request: HttpRequest, **forms_given: forms.Form) -> HttpResponse:
    tenant = tenant_of(request)
    stored = policy_in_scope()
    facts = {name: getattr(stored, name) for name in ("level", "sample_percent", "retention_days")}
    context = {
        "name": forms_given.get("name") or NameForm(initial={"name": tenant.name}),
        "policy": forms_given.get("policy") or PolicyForm(initial=facts),
        "stored": stored,
        "may_rename": may(request, "tenants.tenant.rename"),
        "may_change": may(request, "inference.log_policy.change"),
        "may_export": may(request, "tenants.export.create"),
        "sees_exports": may(request, "tenants.export.read"),
        **(_exports(request) if may(request, "tenants.export.read") else {}),
    }
    return render(request, "inference/settings.html", context, status=422 if forms_given else 200)


def _exports(request: HttpRequest) -> dict[str, Any]:
    rows = list(selectors.exports()[:LATEST])
    return {
        "exports": rows,
        "is_running": any(row.state in _RUNNING for row in rows),
        "may_download": may(request, "tenants.export.download"),
        "done": WorkState.DONE.value,
    }
