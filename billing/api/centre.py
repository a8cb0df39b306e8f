"""REST views of the billing centre: costs, budgets, events, invoices, reconciliations."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import get_language
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.renderers import AnyTypeRenderer, file_responses
from api.serializers import NoInput, ReasonInput
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from audit.services import record_export
from billing import selectors
from billing.api import centre_serializers as serializers
from billing.api import sums
from billing.api.serializers import UsageOutput
from billing.documents import invoices as documents
from billing.models import (
    BillingEvent,
    Budget,
    BudgetScope,
    Invoice,
    InvoiceState,
    Reconciliation,
    UsageRollup,
)
from billing.periods import month_of
from billing.selectors import budgets as budget_selectors
from billing.selectors import invoices as invoice_selectors
from billing.selectors import reconciliations as reconciliation_selectors
from billing.services import budgets, invoices, reconciliation
from core import clock
from tenants.middleware import platform_view


@platform_view("costs")
class CostViewSet(ScopedViewSet):
    """What requests were charged, for the active tenant; for the platform's staff everybody's."""

    model = UsageRollup  # sums have no rows of their own; the path takes no id
    output = sums.CostsOutput
    permissions = {"list": "billing.cost.read"}
    pagination_class = None
    is_single = True

    @extend_schema(parameters=[sums.SummaryQuery])
    def list(self, request: Request) -> Response:
        """Charges of the last 30 days, or a span of at most 92, by day, hour, model, key, member, tag or outcome."""
        summary = selectors.usage_summary(**self.read_query(sums.SummaryQuery))
        groups = [
            {"group": each["group"], "requests": each["requests"], **charge}
            for each in summary["groups"]
            for charge in each["charges"]
        ]
        return self.answer({**summary, "groups": groups, "totals": summary["totals"]["charges"]})


class BudgetFilter(django_filters.FilterSet):
    """Budgets by what they watch and whether they do."""

    scope = django_filters.ChoiceFilter("scope", choices=BudgetScope.choices)
    is_active = django_filters.BooleanFilter("is_active")


class BudgetViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Budgets of the active tenant. They tell at thresholds, and refuse nothing."""

    model = Budget
    output = serializers.BudgetOutput
    filterset_class = BudgetFilter
    permissions = {
        "list": "billing.budget.read",
        "retrieve": "billing.budget.read",
        "alerts": "billing.budget.read",
        "create": "billing.budget.change",
        "partial_update": "billing.budget.change",
        "destroy": "billing.budget.change",
    }
    inputs = {"create": serializers.CreateBudget, "partial_update": serializers.ChangeBudget}
    outputs = {"retrieve": serializers.BudgetDetail, "alerts": serializers.AlertsOutput}

    def rows(self) -> QuerySet[Any]:
        """The active tenant's budgets."""
        return budget_selectors.budgets()

    def retrieve(self, request: Request, id: str) -> Response:  # noqa: A002
        """One budget, with what was used of it this month."""
        self.read_query(NoInput)
        budget = self.get_object()
        return self.answer(budget, spent=budget_selectors.spent(budget, month_of(clock.now())))

    def create(self, request: Request) -> Response:
        """A new budget."""
        given = self.read(serializers.CreateBudget)
        return self.answer(budgets.create(tenant_id=self.tenant_id, actor=self.actor, **given))

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Change a budget."""
        row = self.get_object()
        given = self.read(serializers.ChangeBudget)
        return self.answer(budgets.change(budget=row, actor=self.actor, **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Remove a budget."""
        budgets.remove(budget=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=True)
    def alerts(self, request: Request, id: str) -> Response:  # noqa: A002
        """What the budget told of, the latest hundred."""
        self.read_query(NoInput)
        return self.answer({"results": budget_selectors.alerts_of(self.get_object())[:100]})


class BillingEventFilter(django_filters.FilterSet):
    """Events by type and time."""

    type = django_filters.CharFilter("type", max_length=100)
    since = django_filters.IsoDateTimeFilter("created_at", lookup_expr="gte")


@platform_view("billing events")
class BillingEventViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """What happened to the active tenant's money, newest first; for the platform's staff everybody's."""

    model = BillingEvent
    output = serializers.BillingEventOutput
    filterset_class = BillingEventFilter
    permissions = {"list": "billing.event.read", "retrieve": "billing.event.read"}

    def rows(self) -> QuerySet[Any]:
        """The events in scope."""
        return budget_selectors.billing_events()


class InvoiceFilter(django_filters.FilterSet):
    """Invoices by state, currency, number and month (its first day)."""

    state = django_filters.ChoiceFilter("state", choices=InvoiceState.choices)
    currency = django_filters.CharFilter("currency", max_length=3)
    number = django_filters.CharFilter("number", max_length=32)
    month = django_filters.DateFilter("month", input_formats=["%Y-%m"])


@platform_view("invoices")
class InvoiceViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Invoices of the active tenant, newest first; for the platform's staff everybody's."""

    model = Invoice
    output = serializers.InvoiceOutput
    filterset_class = InvoiceFilter
    permissions = {
        "list": "billing.invoice.read",
        "retrieve": "billing.invoice.read",
        "pdf": "billing.invoice.read",
        "csv": "billing.invoice.read",
        "xlsx": "billing.invoice.read",
        "line_requests": "billing.invoice.read",
        "close": "billing.invoice.close",
        "close_month": "billing.invoice.close",
        "pay": "billing.invoice.pay",
    }
    inputs = {
        "close": ReasonInput,
        "close_month": serializers.MonthInput,
        "pay": serializers.PaymentInput,
    }
    outputs = {
        "retrieve": serializers.InvoiceDetail,
        "close": serializers.InvoiceDetail,
        "close_month": serializers.ClosedOutput,
    }

    def rows(self) -> QuerySet[Any]:
        """The invoices in scope."""
        return invoice_selectors.invoices()

    def retrieve(self, request: Request, id: str) -> Response:  # noqa: A002
        """One invoice with its lines; a draft's are computed now."""
        self.read_query(NoInput)
        invoice, lines = self._current()
        return self.answer(invoice, lines=lines)

    def _current(self) -> tuple[Invoice, list[Any]]:
        """The invoice that the path names with its lines; a draft with the totals that its lines give now."""
        invoice: Invoice = self.get_object()
        if invoice.state != InvoiceState.DRAFT:
            return invoice, invoice_selectors.lines_of(invoice)
        lines, invoice.total_nano, invoice.total_minor = invoice_selectors.compute(
            tenant_id=invoice.tenant_id, month=invoice.month, currency=invoice.currency
        )
        invoice.computed_at = clock.now()
        return invoice, lines

    def _file(self, form: str) -> HttpResponse:
        self.read_query(NoInput)
        invoice, lines = self._current()
        what = f"invoice {invoice.public_id} as {form}"
        record_export(actor=self.actor, tenant_id=invoice.tenant_id, what=what)
        content = documents.invoice_file(invoice, lines, form=form, language=get_language() or "en")
        answer = HttpResponse(content, content_type=documents.CONTENT_TYPES[form])
        answer["Content-Disposition"] = f'attachment; filename="{documents.filename(invoice, form)}"'
        return answer

    @extend_schema(responses=file_responses(documents.CONTENT_TYPES["pdf"]))
    @action(detail=True, renderer_classes=[AnyTypeRenderer])
    def pdf(self, request: Request, id: str) -> HttpResponse:  # noqa: A002
        """The invoice as PDF, in the language of `Accept-Language`."""
        return self._file("pdf")

    @extend_schema(responses=file_responses(documents.CONTENT_TYPES["csv"]))
    @action(detail=True, renderer_classes=[AnyTypeRenderer])
    def csv(self, request: Request, id: str) -> HttpResponse:  # noqa: A002
        """The invoice as CSV."""
        return self._file("csv")

    @extend_schema(responses=file_responses(documents.CONTENT_TYPES["xlsx"]))
    @action(detail=True, renderer_classes=[AnyTypeRenderer])
    def xlsx(self, request: Request, id: str) -> HttpResponse:  # noqa: A002
        """The invoice as a spreadsheet."""
        return self._file("xlsx")

    @extend_schema(responses={200: UsageOutput(many=True), **file_responses()}, filters=False)
    @action(detail=True, url_path=r"lines/(?P<number>[0-9]+)/requests")
    def line_requests(self, request: Request, id: str, number: str) -> Response:  # noqa: A002
        """The usage records behind one line, newest first, page by page."""
        invoice: Invoice = self.get_object()
        line = invoice_selectors.line_of(invoice, int(number[:6]))
        self.cursor_ordering = ("-started_at", "-id")
        page = self.paginate_queryset(invoice_selectors.requests_behind(invoice, line))
        serializer = UsageOutput(page, many=True, context=self.get_serializer_context())
        return self.get_paginated_response(serializer.data)

    @action(detail=True, methods=["post"])
    def close(self, request: Request, id: str) -> Response:  # noqa: A002
        """Close a draft whose month is over: it gets its number and never changes again."""
        row = self.get_object()
        given = self.read(ReasonInput)
        invoice = invoices.close(invoice=row, actor=self.actor, **given)
        return self.answer(invoice, lines=invoice_selectors.lines_of(invoice))

    @action(detail=False, methods=["post"], url_path="close-month")
    def close_month(self, request: Request) -> Response:
        """Close every tenant's drafts up to a month that is over, without waiting for the schedule."""
        given = self.read(serializers.MonthInput)
        return self.answer({"results": invoices.close_month(actor=self.actor, **given)})

    @action(detail=True, methods=["post"])
    def pay(self, request: Request, id: str) -> Response:  # noqa: A002
        """Note that a closed invoice was paid."""
        row = self.get_object()
        given = self.read(serializers.PaymentInput)
        return self.answer(invoices.mark_paid(invoice=row, actor=self.actor, **given))


@platform_view("reconciliations")
class ReconciliationViewSet(ScopedViewSet):
    """Comparisons of engines, usage records, ledger and invoices. For the platform's staff."""

    model = Reconciliation
    output = serializers.ReconciliationsOutput
    permissions = {"list": "billing.reconciliation.read", "create": "billing.reconciliation.run"}
    inputs = {"create": serializers.SpanInput}
    outputs = {"create": serializers.ReconciliationOutput}
    statuses = {"create": status.HTTP_200_OK}
    pagination_class = None
    is_single = True

    def list(self, request: Request) -> Response:
        """The latest fifty, newest first, with their differences."""
        self.read_query(NoInput)
        return self.answer({"results": reconciliation_selectors.reconciliations()[:50]})

    def create(self, request: Request) -> Response:
        """Compare now: the last two full days, or the days of a span of at most 92. Long spans take minutes."""
        given = self.read(serializers.SpanInput)
        begin, end = reconciliation.yesterday()
        report = reconciliation.run(
            begin=given.get("since", begin), end=given.get("until", end), actor=self.actor
        )
        return self.answer(report)
