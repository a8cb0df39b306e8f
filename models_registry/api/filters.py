"""Filters of the registry's lists."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from api.filters import ContainsFilter, PublicIdFilter
from core.scoping import current_scope
from models_registry.models import Source, Task, VersionState, Visibility
from models_registry.policies import PERMISSIONS

OWNERS = [("platform", _("The platform")), ("own", _("The own tenant")), ("others", _("Other tenants"))]


class OwnerFilter(django_filters.ChoiceFilter):
    """Rows by whose they are."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=OWNERS, **kwargs)

    def filter(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The platform's, one's own, or what others share."""
        active = current_scope().tenant_id
        if value == "platform":
            return queryset.filter(tenant__isnull=True)
        if value == "own":
            return queryset.filter(tenant_id=active) if active else queryset.none()
        if value == "others":
            return queryset.filter(tenant__isnull=False).exclude(tenant_id=active)
        return queryset


class ModelFilter(django_filters.FilterSet):
    """Models by name, task, visibility, tag and owner."""

    name = django_filters.CharFilter("name", max_length=100)
    title = ContainsFilter("title", label=_("part of the title"))
    task = django_filters.ChoiceFilter("task", choices=Task.choices)
    visibility = django_filters.ChoiceFilter("visibility", choices=Visibility.choices)
    tag = django_filters.CharFilter("tags", lookup_expr="contains", max_length=50, method="by_tag")
    owner = OwnerFilter()

    def by_tag(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Models that carry the tag."""
        return queryset.filter(tags__contains=[value])


class VersionFilter(django_filters.FilterSet):
    """Versions by model, state, source and owner."""

    model = PublicIdFilter("model_id", prefix="mdl")
    state = django_filters.ChoiceFilter("state", choices=VersionState.choices)
    source = django_filters.ChoiceFilter("source", choices=Source.choices)
    owner = OwnerFilter()


class AliasFilter(django_filters.FilterSet):
    """Aliases by name, version and owner."""

    name = django_filters.CharFilter("name", max_length=150)
    version = PublicIdFilter("version_id", prefix="ver")
    owner = OwnerFilter()


class GrantFilter(django_filters.FilterSet):
    """Grants by model and permission."""

    model = PublicIdFilter("content_object_id", prefix="mdl")
    permission = django_filters.ChoiceFilter(
        method="by_permission", choices=[(name, name) for name in PERMISSIONS]
    )

    def by_permission(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """guardian's name for it ends in the model's."""
        return queryset.filter(permission__codename=f"{value}_model")


class TenantGrantFilter(GrantFilter):
    """Grants to tenants."""

    tenant = PublicIdFilter("tenant_id", prefix="ten")


class MemberGrantFilter(GrantFilter):
    """Grants to members."""

    member = PublicIdFilter("membership_id", prefix="mem")
