"""REST views of usage: what was used, record by record, and summed up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.renderers import AnyTypeRenderer, file_responses
from api.streams import Streamed
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from audit.services import record_export
from billing import selectors
from billing.api import filters, serializers, sums
from billing.documents.usage import CONTENT_TYPES, export
from billing.models import UsageRecord
from billing.selectors.pages import Wanted
from core import clock
from core.scoping import current_scope
from tenants.middleware import platform_view


@platform_view("usage")
class UsageViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Usage records of the active tenant, newest first; for the platform's staff everybody's."""

    model = UsageRecord
    output = serializers.UsageOutput
    filterset_class = filters.UsageFilter
    cursor_ordering = ("-finished_at", "-id")
    permissions = {
        "list": "billing.usage.read",
        "retrieve": "billing.usage.read",
        "summary": "billing.usage.read",
        "export": "billing.usage.read",
    }
    outputs = {"summary": sums.UsageSummary}

    def rows(self) -> QuerySet[Any]:
        """The records in scope."""
        return selectors.usage_records()

    @extend_schema(parameters=[sums.SummaryQuery])
    @action(detail=False)
    def summary(self, request: Request) -> Response:
        """Sums over the last 30 days, or a span of at most 92.

        By day or hour (UTC), model, key, member, tag or outcome, of requests that started in the span.
        """
        asked = self.read_query(sums.SummaryQuery)
        return self.answer(selectors.usage_summary(**asked))

    @extend_schema(parameters=[sums.ExportQuery], responses=file_responses(*CONTENT_TYPES.values()))
    @action(detail=False, renderer_classes=[AnyTypeRenderer])
    def export(self, request: Request) -> Streamed:
        """The records of requests that started in a span, as a stream: CSV, XLSX or JSON Lines.

        The last 30 days unless said otherwise; any span may be asked for.
        """
        asked = self.read_query(sums.ExportQuery)
        until = asked.get("until") or clock.now()
        since = asked.get("since") or until - timedelta(days=30)
        form = asked["file"]
        wanted = Wanted(current_scope().tenant_id, since, until, asked.get("model", ""))
        query = request.query_params.dict()
        record_export(actor=self.actor, tenant_id=wanted.tenant_id, what=f"usage as {form}", query=query)
        return Streamed(
            export(wanted, form=form),
            filename=f"usage-{since:%Y%m%d}-{until:%Y%m%d}.{form}",
            content_type=CONTENT_TYPES[form],
        )
