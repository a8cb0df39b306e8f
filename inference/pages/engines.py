"""The operator's view of the pool: nodes, deployments, replicas; start, stop and scale."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from redis.exceptions import RedisError

from console.pages import actor_of, may
from core.errors import DomainError, NotFound
from inference.selectors import deployment_status, nodes
from models_registry.selectors import deployment_by_public_id, deployments
from models_registry.services import deployments as services
from tenants.pages.platform import platform_page

MOST_REPLICAS = 1_000


class ScaleForm(forms.Form):
    """How many replicas are to run."""

    replicas = forms.IntegerField(min_value=0, max_value=MOST_REPLICAS)


@require_safe
@platform_page("inference.node.read", "engines")
def index(request: HttpRequest) -> HttpResponse:
    """The page. It does not ask again by itself: each visit is an entry in the audit trail."""
    rows: list[dict[str, Any]] = []
    try:
        pool, problem = nodes(), ""
        rows = [
            {"deployment": row, "status": deployment_status(row.pk)}
            for row in deployments().select_related("tenant")
        ]
    except RedisError:
        pool, rows, problem = [], [], _("What runs cannot be read at the moment: Valkey does not answer.")
    context: dict[str, Any] = {
        "nodes": pool,
        "rows": rows,
        "problem": problem,
        "slots": sum(node["slots"] for node in pool if node["alive"]),
        "slots_used": sum(node["slots_used"] for node in pool if node["alive"]),
        "alive": sum(node["alive"] for node in pool),
        "ready": sum(row["status"]["ready"] for row in rows),
        "waiting": sum(row["status"]["waiting"] for row in rows),
        "running": sum(row["status"]["running"] for row in rows),
        "may_change": may(request, "models_registry.deployment.change"),
    }
    return render(request, "inference/engines.html", context)


@require_POST
@platform_page("models_registry.deployment.change", "deployment changed")
def change(request: HttpRequest, deployment_id: str, what: str) -> HttpResponse:
    """Start, stop or scale one deployment."""
    if what not in {"start", "stop", "scale"}:
        raise NotFound(_("There is no such page."))
    row = deployment_by_public_id(public_id=deployment_id)
    actor = actor_of(request)
    form = ScaleForm(request.POST)
    try:
        if what == "start":
            services.start(deployment=row, actor=actor)
        elif what == "stop":
            services.stop(deployment=row, actor=actor)
        elif form.is_valid():
            services.scale(deployment=row, replicas=form.cleaned_data["replicas"], actor=actor)
        else:
            messages.error(
                request, _("Give a number of replicas from 0 to %(most)d.") % {"most": MOST_REPLICAS}
            )
            return redirect("calls:engines")
    except DomainError as error:
        messages.error(request, error.message)
    else:
        messages.success(
            request,
            _("“%(name)s” is being changed; the engines follow in some seconds.") % {"name": row.name},
        )
    return redirect("calls:engines")
