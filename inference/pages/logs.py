"""The call log: search, one request's story, and its full text where the tenant keeps it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.db import OperationalError, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from psycopg.errors import QueryCanceled

from access.models import APIKey
from access.selectors import keys
from accounts.models import User
from api.filters import PublicIdFormField
from billing.selectors.usage import usage_records
from console.pages import actor_of, is_fragment, may, tenant_page
from core import clock
from core.errors import DomainError
from core.ids import parse_public_id
from inference.call_logs import selectors, services
from inference.call_logs.models import CallLog, LogLevel, LogOutcome
from inference.pages.story import story_of
from tenants.selectors import members

PAGE = 50
SPANS = {
    "1h": (gettext_lazy("The last hour"), timedelta(hours=1)),
    "24h": (gettext_lazy("The last day"), timedelta(days=1)),
    "7d": (gettext_lazy("The last 7 days"), timedelta(days=7)),
    "30d": (gettext_lazy("The last 30 days"), timedelta(days=30)),
    "all": (gettext_lazy("All that is kept"), None),
}


class LogSearch(forms.Form):
    """What the log is searched by. `q` is a request's id, or text of the summaries."""

    q = forms.CharField(required=False, max_length=100)
    span = forms.ChoiceField(required=False, choices=[(name, label) for name, (label, _d) in SPANS.items()])
    outcome = forms.ChoiceField(required=False, choices=[("", ""), *LogOutcome.choices])
    model = forms.CharField(required=False, max_length=200)
    key = PublicIdFormField(required=False, prefix=APIKey.id_prefix)
    member = PublicIdFormField(required=False, prefix=User.id_prefix)
    before = forms.CharField(required=False, max_length=100)

    def rows(self) -> QuerySet[CallLog]:
        """The logs that are asked for, newest first."""
        given = self.cleaned_data
        rows = selectors.call_logs()
        _label, span = SPANS[given["span"] or "7d"]
        since = clock.now() - span if span is not None else None
        if since is not None:
            rows = rows.filter(started_at__gte=since)
        for field, column in (
            ("outcome", "outcome"),
            ("model", "model"),
            ("key", "key_id"),
            ("member", "user_id"),
        ):
            if given[field]:
                rows = rows.filter(**{column: given[field]})
        wanted = given["q"].strip()
        if wanted.startswith(("req_", "chatcmpl-", "cmpl-", "embd-")):
            return rows.filter(request_id=wanted)
        return selectors.containing(rows, wanted, since=since, until=None) if len(wanted) > 1 else rows

    def place(self) -> tuple[datetime, UUID] | None:
        """Behind which row the page begins. One that cannot be read is the beginning."""
        moment, _separator, row = self.cleaned_data["before"].partition("~")
        try:
            return datetime.fromisoformat(moment), parse_public_id(row, CallLog.id_prefix)
        except ValueError:
            return None


@require_safe
@tenant_page("inference.log.read")
def index(request: HttpRequest) -> HttpResponse:
    """A page of the log; the part below the search alone, when htmx asks."""
    form = LogSearch(request.GET)
    rows: list[CallLog] = []
    problem, older = "", ""
    if form.is_valid():
        try:
            with transaction.atomic():  # what follows must not find the transaction broken
                rows, older = _page(form)
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            problem = _("The search took too long. Choose a shorter span of time.")
    else:
        problem = _("The search cannot be read. Start a new one.")
    context = {
        "rows": [(row, names) for row, names in zip(rows, _names(rows), strict=True)] if not problem else [],
        "problem": problem,
        "older": older,
        "given": form.cleaned_data if form.is_valid() else {},
        "spans": [(name, label) for name, (label, _delta) in SPANS.items()],
        "outcomes": LogOutcome.choices,
        "level": selectors.policy_in_scope().level,
        "nothing": LogLevel.NOTHING.value,
        "is_filtered": any(request.GET.get(name) for name in ("q", "outcome", "model", "key", "member")),
    }
    template = "inference/_log_rows.html" if is_fragment(request) else "inference/logs.html"
    return render(request, template, context)


@require_safe
@never_cache
@tenant_page("inference.log.read")
def detail(request: HttpRequest, log_id: str) -> HttpResponse:
    """The whole story of one request."""
    return _story_page(request, selectors.log_by_public_id(public_id=log_id))


# POST: reading leaves a trace, and no history or preview may do it by itself.
@require_POST
@never_cache
@tenant_page("inference.log.read_text")
def text(request: HttpRequest, log_id: str) -> HttpResponse:
    """The same with the full text. Each reading is written to the audit trail."""
    log = selectors.log_by_public_id(public_id=log_id)
    try:
        said = services.read_text(log=log, actor=actor_of(request))
    except DomainError as error:
        return _story_page(request, log, problem=error.message)
    return _story_page(request, log, said=said)


def _story_page(request: HttpRequest, log: CallLog, **more: Any) -> HttpResponse:
    record = usage_records().filter(request_id=log.request_id, started_at=log.started_at).first()
    context = {
        "log": log,
        "record": record,
        "story": story_of(log, record),
        "names": _names([log])[0],
        "sees_money": may(request, "billing.wallet.read"),
        "may_read_text": log.has_text and may(request, "inference.log.read_text"),
        **more,
    }
    return render(request, "inference/log.html", context)


def _page(form: LogSearch) -> tuple[list[CallLog], str]:
    rows = form.rows()
    place = form.place()
    if place is not None:
        rows = rows.filter(Q(started_at__lt=place[0]) | Q(started_at=place[0], id__lt=place[1]))
    found = list(rows.defer("search_text").order_by("-started_at", "-id")[: PAGE + 1])
    shown = found[:PAGE]
    if len(found) <= PAGE:
        return shown, ""
    return shown, f"{shown[-1].started_at.isoformat()}~{shown[-1].public_id}"


def _names(rows: list[CallLog]) -> list[dict[str, str]]:
    """Key and member of each row, in words where they still exist. Two queries."""
    key_ids = {row.key_id for row in rows if row.key_id}
    user_ids = {row.user_id for row in rows if row.user_id}
    named_keys = {key.pk: key for key in keys().filter(pk__in=key_ids)} if key_ids else {}
    people = {each.user_id: each.user for each in members().filter(user_id__in=user_ids)} if user_ids else {}
    found = []
    for row in rows:
        key = named_keys.get(row.key_id) if row.key_id else None
        person = people.get(row.user_id) if row.user_id else None
        found.append(
            {
                "key": key.name if key else "",
                "key_id": key.public_id if key else "",
                "member": person.get_full_name() if person else "",
            }
        )
    return found
