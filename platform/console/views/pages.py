"""Home and playground."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from console.examples import first_calls
from console.extensions import CallableModel, models_of
from console.pages import base_url, may, site_url

CHAT = "chat"
INVOKE = "inference.model.invoke"


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Which tenant this is, what can be called in it, and how."""
    tenant = getattr(request, "tenant", None)
    context: dict[str, Any] = {"base_url": base_url(request)}
    if tenant is not None:
        models = models_of(tenant.pk, cast(UUID, request.user.pk))
        chat = next((model for model in models if model.task == CHAT), None)
        context |= {
            "models": models,
            "examples": first_calls(
                base_url=context["base_url"],
                model=chat.name if chat else "…",
                question=_("What is Atrium?"),
            ),
            "tenant_url": f"{site_url(request)}/t/{tenant.slug}/v1",
            "may_invoke": may(request, INVOKE),
        }
    return render(request, "console/home.html", context)


@require_safe
@login_required
def playground(request: HttpRequest) -> HttpResponse:
    """The chat. Everything that happens in it travels over the websocket."""
    tenant = getattr(request, "tenant", None)
    models: list[CallableModel] = []
    if tenant is not None:
        models = [model for model in models_of(tenant.pk, cast(UUID, request.user.pk)) if model.task == CHAT]
    return render(
        request,
        "console/playground.html",
        {"models": models, "may_invoke": tenant is not None and may(request, INVOKE)},
    )
