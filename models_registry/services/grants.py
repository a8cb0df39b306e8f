"""Sharing: object permissions on models for tenants and for members, stored by guardian."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _
from guardian.shortcuts import assign_perm

from access import policies as access
from accounts.models import User
from audit import services as audit
from core.actors import Actor
from core.errors import InvalidInput, NotAllowed, NotFound
from core.events import announce
from core.scoping import current_scope, current_tenant_id
from models_registry import policies, selectors
from models_registry.models import MemberGrant, Model, TenantGrant, Visibility
from models_registry.services.changes import locked, require_owned
from tenants.models import Membership, Tenant

DEFAULT = (policies.VIEW, policies.INVOKE)


def grant(*, model: Model, to: Tenant | User, actor: Actor, permissions: Iterable[str] = DEFAULT) -> None:
    """Give a tenant, or a member of the active tenant, permissions on a model.

    Adds to what they have; idempotent.

    A private model becomes a granted one with its first grant to a tenant. Raises NotAllowed, InvalidInput,
    NotFound.
    """
    names = frozenset(permissions)
    if isinstance(to, Tenant):
        _grant_tenant(model, to, names, actor)
    else:
        _grant_member(model, to, names, actor)


def revoke(
    *, model: Model, to: Tenant | User, actor: Actor, permissions: Iterable[str] = policies.PERMISSIONS
) -> None:
    """Take permissions away again, all by default. Idempotent. Raises NotAllowed, InvalidInput, NotFound."""
    names = frozenset(permissions)
    if isinstance(to, Tenant):
        _revoke_tenant(model, to, names, actor)
    else:
        _revoke_member(model, to, names, actor)


@transaction.atomic
def _grant_tenant(model: Model, tenant: Tenant, names: frozenset[str], actor: Actor) -> None:
    codenames = _codenames(names)
    row = _shareable(model, actor)
    if not names <= policies.GRANTABLE_TO_TENANTS:
        raise InvalidInput(
            _("A tenant can be granted: %(names)s. Managing a model stays with its owner.")
            % {"names": ", ".join(sorted(policies.GRANTABLE_TO_TENANTS))},
            field="permissions",
        )
    if tenant.pk == row.tenant_id:
        raise InvalidInput(_("The model is this tenant's own already."), field="to")
    for codename in codenames:
        TenantGrant.objects.give(codename, tenant=tenant, model=row)
    if row.visibility == Visibility.PRIVATE:
        row.visibility = Visibility.GRANTED
        row.save(update_fields=["visibility", "updated_at"])
    _record("granted", actor, row, names, to=tenant.public_id, tenant_id=row.tenant_id)
    announce("registry", tenant_id=tenant.pk, object_id=row.pk)


@transaction.atomic
def _revoke_tenant(model: Model, tenant: Tenant, names: frozenset[str], actor: Actor) -> None:
    codenames = _codenames(names)
    row = _shareable(model, actor)
    TenantGrant.objects.filter(
        content_object=row, tenant_id=tenant.pk, permission__codename__in=codenames
    ).delete()
    _record("revoked", actor, row, names, to=tenant.public_id, tenant_id=row.tenant_id)
    announce("registry", tenant_id=tenant.pk, object_id=row.pk)


@transaction.atomic
def _grant_member(model: Model, user: User, names: frozenset[str], actor: Actor) -> None:
    codenames = _codenames(names)
    _require_may_name_members(model, actor)
    if not Membership.objects.filter(tenant_id=current_tenant_id(), user_id=user.pk).exists():
        raise NotFound(_("There is no such member."))
    beyond = names - selectors.permissions_of_tenant(model=model)
    if beyond:
        raise NotAllowed(
            _("The tenant itself may not do this with the model: %(names)s.")
            % {"names": ", ".join(sorted(beyond))}
        )
    for codename in codenames:
        assign_perm(codename, user, model)
    _record("granted", actor, model, names, to=user.public_id, tenant_id=current_tenant_id())
    announce("registry", tenant_id=current_tenant_id(), object_id=model.pk)


@transaction.atomic
def _revoke_member(model: Model, user: User, names: frozenset[str], actor: Actor) -> None:
    codenames = _codenames(names)
    _require_may_name_members(model, actor)
    MemberGrant.objects.filter(
        content_object=model, user_id=user.pk, permission__codename__in=codenames
    ).delete()
    _record("revoked", actor, model, names, to=user.public_id, tenant_id=current_tenant_id())
    announce("registry", tenant_id=current_tenant_id(), object_id=model.pk)


def _shareable(model: Model, actor: Actor) -> Model:
    policies.require(selectors.permissions_on(model=model, actor=actor), policies.MANAGE)
    require_owned(model)
    return locked(model)


def _require_may_name_members(model: Model, actor: Actor) -> None:
    """Whoever manages the model, and for a model that is not the tenant's own, the tenant's administrators."""
    if current_scope().platform:
        raise InvalidInput(
            _("A member is granted something inside a tenant: enter the tenant first."), field="to"
        )
    permissions = selectors.permissions_on(model=model, actor=actor)
    if model.tenant_id == current_tenant_id():
        policies.require(permissions, policies.MANAGE)
    else:
        policies.require(permissions, policies.VIEW)
        access.require(actor, "models_registry.grant.change")


def _codenames(names: frozenset[str]) -> list[str]:
    if not names:
        raise InvalidInput(_("Name at least one permission."), field="permissions")
    return [policies.codename(name) for name in sorted(names)]


def _record(
    verb: str, actor: Actor, model: Model, names: frozenset[str], *, to: str, tenant_id: UUID | None
) -> None:
    audit.record(
        f"models_registry.grant.{verb}",
        actor=actor,
        target=model,
        tenant_id=tenant_id,
        after={"to": to, "permissions": sorted(names)},
    )
