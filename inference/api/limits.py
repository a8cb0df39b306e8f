"""REST views of limits, here because how much of one is used is Valkey's to tell."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import APIKey
from access.selectors import key_by_public_id
from api.fields import PublicIdField, ReferenceField
from api.filters import PublicIdFilter
from api.serializers import InputSerializer, OutputSerializer, OutputWithId
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from core.errors import InvalidInput
from core.scoping import current_scope, tenant_scope
from inference import limit_status
from tenants import selectors
from tenants.middleware import platform_view
from tenants.models import MAX_LIMIT, Limit, LimitKind, LimitOwner, Tenant
from tenants.services import limits


class LimitOutput(OutputWithId):
    """A limit."""

    tenant = PublicIdField("ten", source="tenant_id")
    owner = serializers.ChoiceField(
        LimitOwner.choices, help_text=gettext_lazy("The platform's are ceilings that a tenant cannot raise.")
    )
    kind = serializers.ChoiceField(LimitKind.choices)
    value = serializers.IntegerField(help_text=gettext_lazy("0 allows nothing."))
    key = PublicIdField("key", source="key_id", allow_null=True)
    model = serializers.CharField(help_text=gettext_lazy("Public name; empty: all models."))
    is_enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class CreateLimit(InputSerializer):
    """A new limit: of the whole tenant, of one key, of one model, or both."""

    kind = serializers.ChoiceField(LimitKind.choices)
    value = serializers.IntegerField(min_value=0, max_value=MAX_LIMIT)
    key = ReferenceField("key", find=key_by_public_id, required=False, allow_null=True)
    model = serializers.CharField(max_length=200, required=False, allow_blank=True)
    is_enabled = serializers.BooleanField(required=False)
    tenant = ReferenceField(
        "ten",
        find=selectors.tenant_by_public_id,
        required=False,
        help_text=gettext_lazy("For operators: whose ceiling it is. Others set their own tenant's limits."),
    )


class ChangeLimit(InputSerializer):
    """Another value, or on and off."""

    value = serializers.IntegerField(min_value=0, max_value=MAX_LIMIT, required=False)
    is_enabled = serializers.BooleanField(required=False)


class LimitUse(OutputSerializer):
    """A limit that counts, and how much of it is used."""

    limit = LimitOutput()
    used = serializers.IntegerField()
    remaining = serializers.IntegerField()
    reset_at = serializers.DateTimeField(
        allow_null=True,
        help_text=gettext_lazy("When all of it is there again; none where that is up to running requests."),
    )


class LimitUses(OutputSerializer):
    """All limits that count, with their use."""

    results = LimitUse(many=True)


class StatusQuery(InputSerializer):
    """Whose limits."""

    tenant = ReferenceField(
        "ten",
        find=selectors.tenant_by_public_id,
        required=False,
        help_text=gettext_lazy("For the platform's staff: whose. Others see their own tenant's."),
    )


class LimitFilter(django_filters.FilterSet):
    """Limits by kind, owner, reach and tenant."""

    kind = django_filters.ChoiceFilter("kind", choices=LimitKind.choices)
    owner = django_filters.ChoiceFilter("owner", choices=LimitOwner.choices)
    key = PublicIdFilter("key_id", prefix=APIKey.id_prefix)
    model = django_filters.CharFilter("model", max_length=200)
    tenant = PublicIdFilter("tenant_id", prefix=Tenant.id_prefix)


@platform_view("limits")
class LimitViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Limits of the active tenant; for the platform's staff everybody's. What operators set are ceilings."""

    model = Limit
    output = LimitOutput
    filterset_class = LimitFilter
    permissions = {
        "list": "tenants.limit.read",
        "retrieve": "tenants.limit.read",
        "create": "tenants.limit.change",
        "partial_update": "tenants.limit.change",
        "destroy": "tenants.limit.change",
        "status": "tenants.limit.read",
    }
    inputs = {"create": CreateLimit, "partial_update": ChangeLimit}
    outputs = {"status": LimitUses}

    def rows(self) -> QuerySet[Any]:
        """The limits in sight."""
        return selectors.limits()

    def create(self, request: Request) -> Response:
        """A new limit, in force within a second."""
        given = self.read(CreateLimit)
        tenant, owner = self._whose(given.pop("tenant", None))
        return self.answer(limits.create(tenant=tenant, owner=owner, actor=self.actor, **given))

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Another value, in force within a second."""
        row = self.get_object()
        given = self.read(ChangeLimit)
        return self.answer(limits.change(limit=row, actor=self.actor, **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Take a limit away."""
        limits.remove(limit=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=False, methods=["get"])
    def status(self, request: Request) -> Response:
        """Each limit that counts, with what is used, what remains, and when it resets."""
        tenant, _owner = self._whose(self.read_query(StatusQuery).get("tenant"))
        with tenant_scope(tenant.pk):
            return self.answer({"results": limit_status.limits_in_use(tenant_id=tenant.pk)})

    @staticmethod
    def _whose(named: Tenant | None) -> tuple[Tenant, str]:
        """(tenant, owner): behind the platform door a ceiling of the tenant that is named, else one's own."""
        own = current_scope().tenant_id
        if own is not None:
            # A reference finds one's own tenant only, so whoever is named is the active one.
            return named or selectors.tenant_by_id(tenant_id=own), LimitOwner.TENANT.value
        if named is None:
            raise InvalidInput(_("Say whose limit it is."), field="tenant")
        return named, LimitOwner.PLATFORM.value
