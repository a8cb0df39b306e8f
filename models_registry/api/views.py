"""REST views of the registry: thin; reads from selectors, writes through services.

The platform's staff work behind the platform door here: they see every owner's rows, and what operators
make is the platform's own. Tenants see their own rows, the platform's, and what others share with them.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.serializers import ReasonInput
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from core.ids import public_id
from core.scoping import current_scope
from models_registry import selectors
from models_registry.api import filters, serializers
from models_registry.models import Alias, MemberGrant, Model, ModelVersion, TenantGrant
from models_registry.policies import codename
from models_registry.services import aliases, grants, models, versions
from tenants.middleware import platform_view
from tenants.models import Tenant
from tenants.selectors import tenant_by_id


def owner() -> Tenant | None:
    """Whose the new thing is to be: the active tenant's; behind the platform door the platform's own."""
    scope = current_scope()
    return tenant_by_id(tenant_id=scope.tenant_id) if scope.tenant_id else None


@platform_view("models")
class ModelViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Models that one's tenant owns, the platform's, and those that others share."""

    model = Model
    output = serializers.ModelOutput
    filterset_class = filters.ModelFilter
    permissions = {
        "list": "models_registry.model.read",
        "retrieve": "models_registry.model.read",
        "create": "models_registry.model.register",
        "partial_update": "models_registry.model.change",
        "retire": "models_registry.model.change",
    }
    inputs = {
        "create": serializers.RegisterModel,
        "partial_update": serializers.ChangeModel,
        "retire": ReasonInput,
    }
    outputs = {name: serializers.ModelDetail for name in ("retrieve", "create", "partial_update", "retire")}

    def rows(self) -> QuerySet[Any]:
        """The models in sight."""
        return selectors.models()

    def get_serializer_context(self) -> dict[str, Any]:
        """Permissions are the asker's."""
        return {**super().get_serializer_context(), "actor": self.request.auth}

    def create(self, request: Request) -> Response:
        """A new model with its first version, whose files are read and verified first."""
        given = self.read(serializers.RegisterModel)
        described = set(serializers.Description().fields)
        description = {name: given.pop(name) for name in described & set(given)}
        version = models.register(actor=self.actor, tenant=owner(), description=description, **given)
        return self.answer(version.model)

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Another description, another visibility, or both."""
        model = self.get_object()
        given = self.read(serializers.ChangeModel)
        visibility = given.pop("visibility", None)
        if given:
            model = models.describe(model=model, actor=self.actor, **given)
        if visibility is not None:
            model = models.set_visibility(model=model, visibility=visibility, actor=self.actor)
        return self.answer(model)

    @action(detail=True, methods=["post"])
    def retire(self, request: Request, id: str) -> Response:  # noqa: A002
        """Retire every version, for good."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(models.retire(model=row, actor=self.actor, **given))


@platform_view("model versions")
class VersionViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Versions of visible models."""

    model = ModelVersion
    output = serializers.VersionOutput
    filterset_class = filters.VersionFilter
    permissions = {
        "list": "models_registry.version.read",
        "retrieve": "models_registry.version.read",
        "create": "models_registry.version.register",
        "set_state": "models_registry.version.change",
    }
    inputs = {"create": serializers.RegisterVersion, "set_state": serializers.SetState}
    outputs = {name: serializers.VersionDetail for name in ("retrieve", "create", "set_state")}

    def rows(self) -> QuerySet[Any]:
        """The versions in sight."""
        return selectors.versions()

    def create(self, request: Request) -> Response:
        """A further version of a model, whose files are read and verified first."""
        given = self.read(serializers.RegisterVersion)
        return self.answer(versions.register(actor=self.actor, **given))

    @action(detail=True, methods=["post"], url_path="set-state")
    def set_state(self, request: Request, id: str) -> Response:  # noqa: A002
        """Move a version to another state."""
        row = self.get_object()
        given = self.read(serializers.SetState)
        return self.answer(versions.set_state(version=row, actor=self.actor, **given))


@platform_view("aliases")
class AliasViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Public names that lead to versions: one's own, and the platform's."""

    model = Alias
    output = serializers.AliasOutput
    filterset_class = filters.AliasFilter
    permissions = {
        "list": "models_registry.alias.read",
        "retrieve": "models_registry.alias.read",
        "create": "models_registry.alias.change",
        "partial_update": "models_registry.alias.change",
        "destroy": "models_registry.alias.change",
    }
    inputs = {"create": serializers.SetAlias, "partial_update": serializers.ChangeAlias}

    def rows(self) -> QuerySet[Any]:
        """The aliases in sight."""
        return selectors.aliases()

    def create(self, request: Request) -> Response:
        """Let a name lead to a version; a name that exists is moved."""
        given = self.read(serializers.SetAlias)
        return self.answer(aliases.set_alias(actor=self.actor, tenant=owner(), **given))

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Let the name lead to another version."""
        alias = self.get_object()
        given = self.read(serializers.ChangeAlias)
        moved = aliases.set_alias(actor=self.actor, tenant=alias.tenant, name=alias.name, **given)
        return self.answer(moved)

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Take a name away."""
        aliases.remove(alias=self.get_object(), actor=self.actor)
        return Response(status=204)


@platform_view("grants")
class TenantGrantViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Permissions on models given to tenants: those that one gave, and those that one got."""

    model = TenantGrant
    output = serializers.TenantGrantOutput
    filterset_class = filters.TenantGrantFilter
    permissions = {
        "list": "models_registry.grant.read",
        "retrieve": "models_registry.grant.read",
        "create": "models_registry.grant.change",
        "destroy": "models_registry.grant.change",
    }
    inputs = {"create": serializers.GiveToTenant}

    def rows(self) -> QuerySet[Any]:
        """The grants in sight."""
        return selectors.tenant_grants()

    def create(self, request: Request) -> Response:
        """Give a tenant one permission on a model."""
        given = self.read(serializers.GiveToTenant)
        model, tenant, permission = given["model"], given["tenant"], given["permission"]
        grants.grant(model=model, to=tenant, permissions=[permission], actor=self.actor)
        given_rows = selectors.tenant_grants_of(model=model).filter(
            tenant_id=tenant.pk, permission__codename=codename(permission)
        )
        return self.answer(given_rows.get())

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Take the permission away."""
        grant = self.get_object()
        # By its id: the grantee's row is behind the grantee's own wall.
        tenant = selectors.grantee(public_id=public_id(Tenant.id_prefix, grant.tenant_id))
        permission = serializers.permission_of(grant)
        grants.revoke(model=grant.content_object, to=tenant, permissions=[permission], actor=self.actor)
        return Response(status=204)


@platform_view("grants")
class MemberGrantViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Permissions on models given to members of the active tenant."""

    model = MemberGrant
    output = serializers.MemberGrantOutput
    filterset_class = filters.MemberGrantFilter
    permissions = TenantGrantViewSet.permissions
    inputs = {"create": serializers.GiveToMember}

    def rows(self) -> QuerySet[Any]:
        """The active tenant's grants."""
        return selectors.member_grants()

    def create(self, request: Request) -> Response:
        """Give a member one permission on a model."""
        given = self.read(serializers.GiveToMember)
        model, user, permission = given["model"], given["member"].user, given["permission"]
        grants.grant(model=model, to=user, permissions=[permission], actor=self.actor)
        given_rows = selectors.member_grants_of(model=model).filter(
            user_id=user.pk, permission__codename=codename(permission)
        )
        return self.answer(given_rows.get())

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Take the permission away."""
        grant = self.get_object()
        permission = serializers.permission_of(grant)
        grants.revoke(model=grant.content_object, to=grant.user, permissions=[permission], actor=self.actor)
        return Response(status=204)
