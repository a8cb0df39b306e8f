"""REST views of usage: what was used, record by record, and summed up."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from billing import selectors
from billing.api import filters, serializers
from billing.models import UsageRecord
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
    }
    outputs = {"summary": serializers.UsageSummary}

    def rows(self) -> QuerySet[Any]:
        """The records in scope."""
        return selectors.usage_records()

    @extend_schema(parameters=[serializers.SummaryQuery])
    @action(detail=False)
    def summary(self, request: Request) -> Response:
        """Sums over the last 30 days, or a span of at most 92, by day (UTC), model, key or outcome."""
        asked = self.read_query(serializers.SummaryQuery)
        return self.answer(selectors.usage_summary(**asked))
