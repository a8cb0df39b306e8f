"""Filters of the audit trail's events."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from access.models import APIKey
from accounts.models import User
from api.filters import PublicIdFilter
from audit.links import STAFF_ROLES
from core.ids import parse_public_id
from core.scoping import current_scope
from tenants.models import Tenant

ACTOR_KINDS = [("person", _("Person")), ("key", _("API key")), ("system", _("System"))]


class AuditEventFilter(django_filters.FilterSet):
    """Events by action, object, doer, place, request and time."""

    action = django_filters.CharFilter(
        method="by_action", max_length=100, label=_("a whole action, or its beginning with a dot at the end")
    )
    target = django_filters.CharFilter("target_id", max_length=100)
    target_type = django_filters.CharFilter("target_type", max_length=100)
    actor = django_filters.CharFilter("actor_label", max_length=254)
    actor_id = django_filters.CharFilter(
        method="by_actor_id", max_length=64, label=_("a person's or a key's id")
    )
    actor_kind = django_filters.ChoiceFilter("actor_kind", choices=ACTOR_KINDS)
    actor_role = django_filters.CharFilter("actor_role", max_length=32)
    address = django_filters.CharFilter(method="by_address", max_length=64)
    request_id = django_filters.CharFilter("request_id", max_length=100)
    tenant = PublicIdFilter("tenant_id", prefix=Tenant.id_prefix)
    since = django_filters.IsoDateTimeFilter("occurred_at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter("occurred_at", lookup_expr="lt")

    def by_action(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """`access.key.revoked`, or all of `access.key.`."""
        return (
            queryset.filter(action__startswith=value)
            if value.endswith(".")
            else queryset.filter(action=value)
        )

    def by_actor_id(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """By the public id of a person or of a key; another text finds nothing."""
        for prefix in (User.id_prefix, APIKey.id_prefix):
            try:
                return queryset.filter(actor_id=parse_public_id(value, prefix))
            except ValueError:
                continue
        return queryset.none()

    def by_address(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """From exactly this address.

        SECURITY: tenants are not shown where the platform's staff sat, and must not find out by asking.
        """
        found = queryset.filter(address=value)
        return found if current_scope().platform else found.exclude(actor_role__in=STAFF_ROLES)
