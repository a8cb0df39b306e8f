"""Filters of usage."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import django_filters
from django.db.models import QuerySet

from api.filters import PublicIdFilter
from billing.models import Outcome


class UsageFilter(django_filters.FilterSet):
    """Usage by day (UTC) or span of time, model, key, person, outcome and request."""

    day = django_filters.DateFilter(method="by_day")
    since = django_filters.IsoDateTimeFilter("finished_at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter("finished_at", lookup_expr="lt")
    model = django_filters.CharFilter("model", max_length=200)
    key = PublicIdFilter("key_id", prefix="key")
    user = PublicIdFilter("user_id", prefix="usr")
    outcome = django_filters.ChoiceFilter("outcome", choices=Outcome.choices)
    request_id = django_filters.CharFilter("request_id", max_length=100)
    end_user = django_filters.CharFilter("end_user", max_length=256)

    def by_day(self, queryset: QuerySet[Any], name: str, value: date) -> QuerySet[Any]:
        """Records that ended on one day, UTC."""
        begin = datetime.combine(value, time.min, tzinfo=UTC)
        return queryset.filter(finished_at__gte=begin, finished_at__lt=begin + timedelta(days=1))
