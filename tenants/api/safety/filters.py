"""Filters of the safety lists."""

from __future__ import annotations

import django_filters

from api.filters import ContainsFilter, PublicIdFilter
from safety.models import ReviewState, RuleAction, RuleDirection, RuleKind, RuleSeverity


class RuleFilter(django_filters.FilterSet):
    """Rules by kind, category, severity, name and whether they count."""

    kind = django_filters.ChoiceFilter("kind", choices=RuleKind.choices)
    category = django_filters.CharFilter("category", max_length=50)
    severity = django_filters.ChoiceFilter("severity", choices=RuleSeverity.choices)
    is_enabled = django_filters.BooleanFilter("is_enabled")
    name = ContainsFilter("name")


class WordListFilter(django_filters.FilterSet):
    """Word lists by category, severity and name."""

    category = django_filters.CharFilter("category", max_length=50)
    severity = django_filters.ChoiceFilter("severity", choices=RuleSeverity.choices)
    name = ContainsFilter("name")


class VersionFilter(django_filters.FilterSet):
    """Versions by number, publisher and time."""

    number = django_filters.NumberFilter("number")
    published_by = django_filters.CharFilter("published_by", max_length=254)
    since = django_filters.IsoDateTimeFilter("published_at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter("published_at", lookup_expr="lt")


class OverrideFilter(django_filters.FilterSet):
    """Changed platform rules by rule."""

    rule = django_filters.CharFilter("rule", max_length=100)


class DisclaimerFilter(django_filters.FilterSet):
    """Disclaimers by model."""

    model = django_filters.CharFilter("model", max_length=200)


class ReviewFilter(django_filters.FilterSet):
    """Reviews by state, direction, rule, category, model and request."""

    state = django_filters.ChoiceFilter("state", choices=ReviewState.choices)
    direction = django_filters.ChoiceFilter("direction", choices=RuleDirection.choices)
    rule = django_filters.CharFilter("rule", max_length=100)
    category = django_filters.CharFilter("category", max_length=50)
    model = django_filters.CharFilter("model", max_length=200)
    request_id = django_filters.CharFilter("request_id", max_length=100)


class HitFilter(django_filters.FilterSet):
    """Hits by day or span of days, rule, version, category, action, direction and tenant."""

    day = django_filters.DateFilter("day")
    since = django_filters.DateFilter("day", lookup_expr="gte")
    until = django_filters.DateFilter("day", lookup_expr="lte")
    rule = django_filters.CharFilter("rule", max_length=100)
    version = django_filters.NumberFilter("version")
    category = django_filters.CharFilter("category", max_length=50)
    action = django_filters.ChoiceFilter("action", choices=RuleAction.choices)
    direction = django_filters.ChoiceFilter("direction", choices=RuleDirection.choices)
    tenant = PublicIdFilter("tenant_id", prefix="ten")
