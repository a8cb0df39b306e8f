"""REST views of this app: thin; reads from selectors, writes through services."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access import policies
from access import selectors as key_selectors
from access.models import APIKey
from access.services import keys
from accounts.selectors import user_by_email
from api.permissions import SIGNED_IN
from api.serializers import ReasonInput
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from core.errors import InvalidInput, NotFound
from tenants import selectors
from tenants.api import filters, serializers
from tenants.api.governance import ErasureOutput
from tenants.middleware import platform_view
from tenants.models import Membership, Plan, Tenant
from tenants.services import erasure, members, plans, tenants


@platform_view("tenants")
class TenantViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Tenants. Operators see and manage all of them; everybody else sees the active one."""

    model = Tenant
    output = serializers.TenantOutput
    filterset_class = filters.TenantFilter
    permissions = {
        "list": "tenants.tenant.read",
        "retrieve": "tenants.tenant.read",
        "create": "tenants.tenant.create",
        "partial_update": "tenants.tenant.rename",
        "suspend": "tenants.tenant.suspend",
        "resume": "tenants.tenant.resume",
        "close": "tenants.tenant.close",
        "set_plan": "tenants.tenant.set_plan",
        "erase": "tenants.tenant.erase",
    }
    inputs = {
        "create": serializers.CreateTenant,
        "partial_update": serializers.RenameTenant,
        "suspend": ReasonInput,
        "resume": ReasonInput,
        "close": ReasonInput,
        "set_plan": serializers.SetPlan,
        "erase": serializers.EraseTenant,
    }
    outputs = {"erase": ErasureOutput}

    def rows(self) -> QuerySet[Any]:
        """The tenants in scope."""
        return selectors.tenants()

    def create(self, request: Request) -> Response:
        """A new tenant, with its first owner when one is named."""
        given = self.read(serializers.CreateTenant)
        owner = _account(given["owner_email"], "owner_email") if "owner_email" in given else None
        tenant = tenants.create(actor=self.actor, slug=given["slug"], name=given["name"], owner=owner)
        return self.answer(tenant)

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Another name."""
        row = self.get_object()
        given = self.read(serializers.RenameTenant)
        return self.answer(tenants.rename(tenant=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"])
    def suspend(self, request: Request, id: str) -> Response:  # noqa: A002
        """Stop all traffic of the tenant within a second, running streams included."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(tenants.suspend(tenant=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"])
    def resume(self, request: Request, id: str) -> Response:  # noqa: A002
        """Serve a suspended tenant again."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(tenants.resume(tenant=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"])
    def close(self, request: Request, id: str) -> Response:  # noqa: A002
        """Begin the end of a tenant: traffic stops and does not come back."""
        row = self.get_object()
        given = self.read(ReasonInput)
        return self.answer(tenants.close(tenant=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"])
    def erase(self, request: Request, id: str) -> Response:  # noqa: A002
        """Erase everything that a closing tenant owns, but for what the law keeps. There is no way back."""
        row = self.get_object()
        given = self.read(serializers.EraseTenant)
        return self.answer(erasure.request_tenant(tenant=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"], url_path="set-plan")
    def set_plan(self, request: Request, id: str) -> Response:  # noqa: A002
        """Another plan, in force within a second."""
        row = self.get_object()
        given = self.read(serializers.SetPlan)
        return self.answer(plans.assign(tenant=row, actor=self.actor, **given))


@platform_view("plans")
class PlanViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Plans of the platform: read by everybody, made by operators."""

    model = Plan
    output = serializers.PlanOutput
    filterset_class = filters.PlanFilter
    permissions = {
        "list": "tenants.plan.read",
        "retrieve": "tenants.plan.read",
        "create": "tenants.plan.change",
        "partial_update": "tenants.plan.change",
        "destroy": "tenants.plan.change",
    }
    inputs = {"create": serializers.CreatePlan, "partial_update": serializers.ChangePlan}

    def rows(self) -> QuerySet[Any]:
        """All plans."""
        return selectors.plans()

    def create(self, request: Request) -> Response:
        """A new plan."""
        return self.answer(plans.create(actor=self.actor, **self.read(serializers.CreatePlan)))

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Another entitlement, in force within a second."""
        row = self.get_object()
        given = self.read(serializers.ChangePlan)
        return self.answer(plans.change(plan=row, actor=self.actor, **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Remove a plan that no tenant has."""
        plans.remove(plan=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


class MemberViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Members of the active tenant."""

    model = Membership
    output = serializers.MemberOutput
    filterset_class = filters.MemberFilter
    permissions = {
        "list": "tenants.member.read",
        "retrieve": "tenants.member.read",
        "create": "tenants.member.add",
        "partial_update": "tenants.member.change",
        # Everybody may leave; who may remove others is the service's question (tenants.policies).
        "destroy": "tenants.member.read",
    }
    inputs = {"create": serializers.AddMember, "partial_update": serializers.ChangeMember}

    def rows(self) -> QuerySet[Any]:
        """The active tenant's members."""
        return selectors.members()

    def create(self, request: Request) -> Response:
        """Add a person who has an account already."""
        given = self.read(serializers.AddMember)
        user = _account(given["email"], "email")
        tenant = selectors.tenant_by_id(tenant_id=self.tenant_id)
        member = members.add(tenant=tenant, user=user, role=given["role"], actor=self.actor)
        return self.answer(member)

    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        """Another role."""
        row = self.get_object()
        given = self.read(serializers.ChangeMember)
        member = members.change_role(membership=row, actor=self.actor, **given)
        return self.answer(member)

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """End a membership, one's own or another's."""
        members.remove(membership=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)


class KeyViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """API keys of the active tenant."""

    model = APIKey
    output = serializers.KeyOutput
    filterset_class = filters.KeyFilter
    permissions = {
        "list": "access.key.read",
        "retrieve": "access.key.read",
        "create": "access.key.create",
        "rotate": "access.key.rotate",
        "revoke": "access.key.revoke",
    }
    inputs = {
        "create": serializers.CreateKey,
        "rotate": serializers.RotateKey,
        "revoke": serializers.RevokeKey,
    }
    outputs = {"create": serializers.KeyWithSecret, "rotate": serializers.KeyWithSecret}
    statuses = {"rotate": status.HTTP_201_CREATED}

    def rows(self) -> QuerySet[Any]:
        """The active tenant's keys."""
        return key_selectors.keys()

    def create(self, request: Request) -> Response:
        """A new key; the answer holds the secret, this once."""
        key, secret = keys.create(actor=self.actor, **self.read(serializers.CreateKey))
        return self.answer(key, secret=secret)

    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, id: str) -> Response:  # noqa: A002
        """A successor with the same rights; the old secret works until the overlap ends."""
        row = self.get_object()
        given = self.read(serializers.RotateKey)
        key, secret = keys.rotate(key=row, actor=self.actor, **given)
        return self.answer(key, secret=secret)

    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, id: str) -> Response:  # noqa: A002
        """End the key everywhere within a second."""
        row = self.get_object()
        given = self.read(serializers.RevokeKey)
        return self.answer(keys.revoke(key=row, actor=self.actor, **given))


class MeViewSet(ScopedViewSet):
    """Who asks, for which tenant, and what they may do."""

    model = Tenant
    output = serializers.MeOutput
    permissions = {"list": SIGNED_IN}
    pagination_class = None
    is_single = True
    needs_scope = False

    def list(self, request: Request) -> Response:
        """Oneself."""
        plain: Any = request._request
        key = plain.api_key
        return self.answer(
            {
                "kind": self.actor.kind,
                "person": plain.user if key is None else None,
                "key": key,
                "tenant": plain.tenant,
                "role": self.actor.role,
                "memberships": plain.memberships,
                "permissions": sorted(policies.permissions_of(self.actor)),
            }
        )


def _account(email: str, field: str) -> Any:
    """The account of an address, or an error about that very field."""
    try:
        return user_by_email(email=email)
    except NotFound:
        raise InvalidInput(
            _("There is no account with this e-mail address."), field=field, code="not_found"
        ) from None
