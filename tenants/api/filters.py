"""Filters of the lists of this app."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from access import selectors as key_selectors
from access.models import KeyState
from accounts.models import normalise_email
from api.filters import ContainsFilter, PublicIdFilter
from tenants.models import Role, TenantStatus


class TenantFilter(django_filters.FilterSet):
    """Tenants by short name and status."""

    slug = django_filters.CharFilter("slug", max_length=40)
    name = ContainsFilter("name", label=_("part of the name"))
    status = django_filters.ChoiceFilter("status", choices=TenantStatus.choices)


class PlanFilter(django_filters.FilterSet):
    """Plans by short name and name."""

    slug = django_filters.CharFilter("slug", max_length=40)
    name = ContainsFilter("name", label=_("part of the name"))


class MemberFilter(django_filters.FilterSet):
    """Members by role and address."""

    role = django_filters.ChoiceFilter("role", choices=Role.choices)
    email = django_filters.CharFilter(method="by_email", max_length=254)
    user = PublicIdFilter("user_id", prefix="usr")

    def by_email(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Exactly this address, in whatever case it was typed."""
        return queryset.filter(user__email=normalise_email(value))


class KeyFilter(django_filters.FilterSet):
    """Keys by state, name and prefix."""

    state = django_filters.ChoiceFilter(method="by_state", choices=KeyState.choices)
    name = ContainsFilter("name", label=_("part of the name"))
    prefix = django_filters.CharFilter("prefix", max_length=12)

    def by_state(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Keys that stand so now."""
        return key_selectors.in_state(queryset, value)
