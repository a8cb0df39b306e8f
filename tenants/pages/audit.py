"""The audit trail: who did what, before and after; and the button that verifies all of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from audit import selectors, words
from audit.links import STAFF_ROLES
from audit.models import AuditEvent
from audit.services.verification import verify_several
from audit.state import state
from console.pages import actor_of, is_fragment, searched, tenant_page
from core.ids import parse_public_id
from tenants.http import tenant_of

PAGE = 50


@require_safe
@tenant_page("audit.event.read")
def index(request: HttpRequest) -> HttpResponse:
    """The events, newest first; the rows alone, when htmx asks."""
    wanted = searched(request)
    rows = selectors.events()
    if wanted:
        rows = rows.filter(
            Q(action__icontains=wanted)
            | Q(actor_label__icontains=wanted)
            | Q(target_label__icontains=wanted)
            | Q(target_id=wanted)
        )
    with suppress(ValueError):  # what cannot be read is the beginning
        rows = rows.filter(pk__lt=parse_public_id(request.GET.get("before", ""), AuditEvent.id_prefix))
    found = list(rows.order_by("-id")[: PAGE + 1])
    context = {
        "rows": [_row(event) for event in found[:PAGE]],
        "older": found[PAGE - 1].public_id if len(found) > PAGE else "",
        "wanted": wanted,
    }
    if is_fragment(request):
        return render(request, "tenants/_audit_rows.html", context)
    tenant = tenant_of(request)
    return render(request, "tenants/audit.html", context | {"chain": state(tenant_id=tenant.pk)})


# POST: that somebody had the trail verified is an event too.
@require_POST
@tenant_page("audit.trail.read")
def verify(request: HttpRequest) -> HttpResponse:
    """The report on the tenant's chain, as a page or as the fragment that htmx asks for."""
    tenant = tenant_of(request)
    found = verify_several(actor=actor_of(request), owners=[tenant.pk])
    (chain,) = found.chains
    context = {
        "report": chain.report,
        "first": chain.first,
        "findings": [
            {"sentence": words.sentence(each), "event": words.event_of(each), "is_note": each.is_note}
            for each in chain.report.findings
        ],
    }
    template = "tenants/_audit_report.html" if is_fragment(request) else "tenants/audit_report.html"
    return render(request, template, context)


def _row(event: AuditEvent) -> dict[str, Any]:
    names = sorted({*(event.before or {}), *(event.after or {})})
    changes = [(name, (event.before or {}).get(name), (event.after or {}).get(name)) for name in names]
    # Where the platform's staff sat is not the tenant's business.
    address = "" if event.actor_role in STAFF_ROLES else event.address
    return {"event": event, "changes": changes, "address": address}
