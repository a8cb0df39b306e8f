"""API keys: the list, a new one, one's own page with rotation and revocation."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from access import selectors
from access.models import APIKey, KeyState, Scope
from access.policies import grantable_scopes
from access.services import keys
from console.examples import first_calls
from console.extensions import models_of
from console.pages import actor_of, base_url, may, put_beside_field, searched, tenant_page
from core import clock
from core.errors import DomainError, InvalidInput, NotAllowed
from tenants.http import tenant_of
from tenants.pages.forms import KeyForm, RotateForm

PAGE = 50


@require_safe
@tenant_page("access.key.read")
def index(request: HttpRequest) -> HttpResponse:
    """The tenant's keys, newest first, by state and by a piece of their name or prefix."""
    state = request.GET.get("state", KeyState.ACTIVE.value)
    wanted = searched(request)
    rows = selectors.keys()
    if state in KeyState.values:
        rows = selectors.in_state(rows, state)
    if wanted:
        rows = rows.filter(Q(name__icontains=wanted) | Q(prefix__istartswith=wanted.removeprefix("atr-")))
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    now = clock.now()
    context = {
        "page": page,
        "rows": [(key, key.state(now)) for key in page],
        "state": state,
        "states": [("all", _("All")), *KeyState.choices],
        "wanted": wanted,
        "is_filtered": bool(wanted) or state != KeyState.ACTIVE.value,
        "may_create": may(request, "access.key.create"),
    }
    return render(request, "tenants/keys.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@tenant_page("access.key.create")
def create(request: HttpRequest) -> HttpResponse:
    """The form; and once it was sent, the secret, this one time."""
    form = KeyForm(request.POST or None, models=_models(request))
    grantable = grantable_scopes(actor_of(request))
    if request.method == "POST" and form.is_valid():
        try:
            key, secret = keys.create(actor=actor_of(request), **form.wanted())
        except (InvalidInput, NotAllowed) as error:
            put_beside_field(form, error)
        else:
            return _secret_page(request, key, secret)
    context = {"form": form, "grantable": grantable, "scopes": Scope}
    return render(request, "tenants/key_new.html", context, status=422 if form.errors else 200)


@require_safe
@never_cache
@tenant_page("access.key.read")
def detail(request: HttpRequest, key_id: str) -> HttpResponse:
    """One key: what it opens, how it stands, and what can be done with it."""
    key = selectors.key_by_public_id(public_id=key_id)
    state = key.state(clock.now())
    can_rotate = state == KeyState.ACTIVE and key.rotated_to_id is None and may(request, "access.key.rotate")
    context = {
        "key": key,
        "state": state,
        "successor": selectors.keys().filter(pk=key.rotated_to_id).first() if key.rotated_to_id else None,
        "scopes": [Scope(scope).label for scope in key.scopes],
        "rotate_form": RotateForm() if can_rotate else None,
        "may_revoke": state != KeyState.REVOKED and may(request, "access.key.revoke"),
    }
    return render(request, "tenants/key.html", context)


@require_POST
@never_cache
@tenant_page("access.key.rotate")
def rotate(request: HttpRequest, key_id: str) -> HttpResponse:
    """A successor with the same rights, and its secret, this one time."""
    key = selectors.key_by_public_id(public_id=key_id)
    form = RotateForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Choose when the old secret ends."))
        return redirect("tenant:key", key.public_id)
    try:
        new, secret = keys.rotate(key=key, actor=actor_of(request), overlap_s=form.cleaned_data["overlap_s"])
    except DomainError as error:
        messages.error(request, error.message)
        return redirect("tenant:key", key.public_id)
    return _secret_page(request, new, secret, old=key)


@require_POST
@tenant_page("access.key.revoke")
def revoke(request: HttpRequest, key_id: str) -> HttpResponse:
    """End the key everywhere within a second."""
    key = selectors.key_by_public_id(public_id=key_id)
    reason = " ".join(request.POST.get("reason", "").split())[:500]
    keys.revoke(key=key, actor=actor_of(request), reason=reason)
    messages.success(request, _("The key “%(name)s” is revoked.") % {"name": key.name})
    return redirect("tenant:key", key.public_id)


def _secret_page(request: HttpRequest, key: APIKey, secret: str, old: APIKey | None = None) -> HttpResponse:
    """SECURITY: the secret is in this one answer and nowhere else: no session, no redirect, no cache."""
    chat = next((model.name for model in _callable(request) if model.task == "chat"), "…")
    examples = first_calls(
        base_url=base_url(request),
        model=key.allowed_models[0] if key.allowed_models else chat,
        question=_("What is Atrium?"),
    )
    context = {"key": key, "secret": secret, "old": old, "examples": examples}
    return render(request, "tenants/key_secret.html", context, status=201)


def _callable(request: HttpRequest) -> list[Any]:
    tenant = tenant_of(request)
    return models_of(tenant.pk, cast(UUID, request.user.pk))


def _models(request: HttpRequest) -> list[str]:
    return [model.name for model in _callable(request)]
