"""What bounds the tenant, how near it is, and by whom it was set; here because the use is Valkey's to tell."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST
from redis.exceptions import RedisError

from access.selectors import in_state, key_by_public_id, keys
from billing.money import NANO
from console.pages import actor_of, may, put_beside_field, tenant_page
from core.errors import DomainError, NotFound
from core.ids import parse_public_id
from inference.limit_status import limits_in_use
from tenants import selectors
from tenants.http import tenant_of
from tenants.models import MAX_LIMIT, Limit, LimitKind, LimitOwner
from tenants.services import limits

_MOST_KEYS = 200


class LimitForm(forms.Form):
    """A limit of the tenant's own, of all that it does, of one key or of one model."""

    kind = forms.ChoiceField(
        label=gettext_lazy("What is bounded"),
        choices=[
            (value, label) for value, label in LimitKind.choices if value != LimitKind.MONTHLY_MONEY_NANO
        ]
        + [(LimitKind.MONTHLY_MONEY_NANO.value, gettext_lazy("Money per month"))],
        widget=forms.Select(attrs={"class": "input"}),
    )
    value = forms.DecimalField(
        label=gettext_lazy("At most"),
        min_value=0,
        max_value=MAX_LIMIT,
        max_digits=28,
        decimal_places=9,
        widget=forms.NumberInput(attrs={"class": "input", "step": "any", "inputmode": "decimal"}),
    )
    key = forms.ChoiceField(
        label=gettext_lazy("Key"), required=False, widget=forms.Select(attrs={"class": "input"})
    )
    model = forms.CharField(
        label=gettext_lazy("Model"),
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        active = in_state(keys(), "active")[:_MOST_KEYS]
        self.fields["key"].choices = [("", _("all keys"))] + [(key.public_id, key.name) for key in active]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Money is given in units of its currency, everything else in whole numbers."""
        given = super().clean() or {}
        value, kind = given.get("value"), given.get("kind")
        if value is not None and kind == LimitKind.MONTHLY_MONEY_NANO:
            given["value"] = int(value * NANO)
        elif value is not None:
            if value != value.to_integral_value():
                self.add_error("value", _("Give a whole number."))
            given["value"] = int(value)
        return given


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page("tenants.limit.read")
def index(request: HttpRequest) -> HttpResponse:
    """All limits with their use, and the form that adds one."""
    tenant = tenant_of(request)
    may_change = may(request, "tenants.limit.change")
    form = LimitForm(request.POST if request.method == "POST" and may_change else None)
    if form.is_bound and form.is_valid():
        given = form.cleaned_data
        try:
            limits.create(
                tenant=selectors.tenant_by_id(tenant_id=tenant.pk),
                actor=actor_of(request),
                kind=given["kind"],
                value=given["value"],
                key=key_by_public_id(public_id=given["key"]) if given["key"] else None,
                model=given["model"],
            )
        except DomainError as error:
            put_beside_field(form, error)
        else:
            messages.success(request, _("The limit is in force."))
            return redirect("calls:limits")
    try:
        in_use = {use.limit.pk: use for use in limits_in_use(tenant_id=tenant.pk)}
        is_known = True
    except RedisError:
        in_use, is_known = {}, False
    rows = [
        _row(limit, in_use.get(limit.pk))
        for limit in selectors.limits().filter(tenant_id=tenant.pk).order_by("kind", "owner", "id")
    ]
    context = {"rows": rows, "form": form, "may_change": may_change, "is_known": is_known}
    return render(request, "inference/limits.html", context, status=422 if form.errors else 200)


@require_POST
@tenant_page("tenants.limit.change")
def remove(request: HttpRequest, limit_id: str) -> HttpResponse:
    """Take one of the tenant's own limits away."""
    try:
        found = selectors.limits().filter(pk=parse_public_id(limit_id, Limit.id_prefix)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(_("There is no such limit."))
    limits.remove(limit=found, actor=actor_of(request))
    messages.success(request, _("The limit is gone."))
    return redirect("calls:limits")


def _row(limit: Limit, use: Any) -> dict[str, Any]:
    part = min(100, round(100 * use.used / limit.value)) if use and limit.value else (100 if use else 0)
    return {
        "limit": limit,
        "use": use,
        "part": part,
        "is_money": limit.kind == LimitKind.MONTHLY_MONEY_NANO,
        "is_own": limit.owner == LimitOwner.TENANT,
    }
