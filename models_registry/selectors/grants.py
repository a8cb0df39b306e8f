"""Who may do what with a model: guardian's rows and the roles, put together inside the active tenant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from guardian.shortcuts import get_objects_for_user

from access.models import APIKey
from accounts.models import User
from core.actors import Actor
from core.scoping import current_scope, current_tenant_id, platform_scope
from models_registry import policies
from models_registry.models import MemberGrant, Model, TenantGrant, Visibility
from tenants import selectors as tenants
from tenants.models import Tenant


def permissions_on(*, model: Model, actor: Actor) -> frozenset[str]:
    """What `actor` may do with one visible model, of view, invoke, deploy, manage. At most three queries."""
    if current_scope().platform:
        return policies.effective(actor, is_own=True)
    tenant_id = current_tenant_id()
    is_own = model.tenant_id == tenant_id
    to_tenant = permissions_of_tenant(model=model)
    # By name nobody gets more of another's model than the tenant has: a grant that shrank shrinks for all.
    to_member = _given_to_member(model, actor) & to_tenant
    shared = frozenset() if is_own else to_tenant
    found = policies.effective(actor, is_own=is_own, to_tenant=shared, to_member=to_member)
    if model.restrict_to_members and policies.INVOKE not in to_member:
        found -= {policies.INVOKE}
    return found


def permissions_of_tenant(*, model: Model) -> frozenset[str]:
    """What the active tenant as a whole may do with a visible model: the most that a member can be given."""
    tenant_id = current_tenant_id()
    if model.tenant_id == tenant_id:
        return policies.EVERYTHING
    codenames = TenantGrant.objects.filter(tenant_id=tenant_id, content_object=model).values_list(
        "permission__codename", flat=True
    )
    found = policies.from_codenames(codenames) & policies.GRANTABLE_TO_TENANTS
    if model.visibility == Visibility.PUBLIC:
        found |= {policies.VIEW, policies.INVOKE}
    return found | {policies.VIEW} if found else found


def models_for(*, actor: Actor, permission: str) -> QuerySet[Model]:
    """Visible models with which `actor` may do `permission`; agrees with `permissions_on` model by model."""
    codename = policies.codename(permission)
    everything = Model.objects.all()
    if current_scope().platform:
        return everything if permission in policies.by_role(actor) else everything.none()
    tenant_id = current_tenant_id()
    own, by_name = Q(tenant_id=tenant_id), Q(pk__in=_named_ids(actor, codename))
    shared = ~own  # whatever else the wall shows can be looked at
    if permission == policies.INVOKE:
        shared &= Q(pk__in=_granted_ids(tenant_id, codename)) | Q(visibility=Visibility.PUBLIC)
    elif permission != policies.VIEW:
        shared &= Q(pk__in=_granted_ids(tenant_id, codename))
    allowed = (own | shared) & by_name
    if permission in policies.effective(actor, is_own=True):
        allowed |= own
    if permission in policies.effective(actor, is_own=False, to_tenant={permission}):
        allowed |= shared
    if permission == policies.INVOKE:
        allowed &= Q(restrict_to_members=False) | by_name
    return everything.filter(allowed)


def tenant_grants() -> QuerySet[TenantGrant]:
    """Grants to tenants that the scope in force may see: those that were given, and those that were got."""
    return TenantGrant.objects.select_related("permission", "content_object").order_by("id")


def tenant_grants_of(*, model: Model) -> QuerySet[TenantGrant]:
    """Grants of one model to tenants: for its owner all of them, for a tenant that got one its own."""
    return tenant_grants().filter(content_object=model)


def member_grants() -> QuerySet[MemberGrant]:
    """Grants to members of the active tenant."""
    return MemberGrant.objects.select_related("permission", "user", "content_object").order_by("id")


def member_grants_of(*, model: Model) -> QuerySet[MemberGrant]:
    """Grants of one model to members of the active tenant."""
    return member_grants().filter(content_object=model)


def grantee(*, public_id: str) -> Tenant:
    """The tenant that a model is to be shared with, by its `ten_…` id. Raises NotFound.

    SECURITY: by id, which nobody can guess, never by short name: otherwise sharing would be a way to find
    out who the platform's customers are.
    """
    with platform_scope(reason="find the tenant that a model is shared with"):
        return tenants.tenant_by_public_id(public_id=public_id)


def _given_to_member(model: Model, actor: Actor) -> frozenset[str]:
    user_id = _person_behind(actor)
    if user_id is None:
        return frozenset()
    codenames = MemberGrant.objects.filter(user_id=user_id, content_object=model).values_list(
        "permission__codename", flat=True
    )
    found = policies.from_codenames(codenames)
    # A key never does more than its scopes open, whoever made it.
    return found & policies.by_role(actor) if actor.kind == "key" else found


def _person_behind(actor: Actor) -> UUID | None:
    """The member whose grants count: the person, or who made the key."""
    if actor.kind != "key":
        return actor.id
    return APIKey.objects.filter(pk=actor.id).values_list("created_by_id", flat=True).first()


def _granted_ids(tenant_id: UUID, codename: str) -> Any:
    return TenantGrant.objects.filter(tenant_id=tenant_id, permission__codename=codename).values(
        "content_object"
    )


def _named_ids(actor: Actor, codename: str) -> Any:
    """Ids of the models that a member was granted by name, out of guardian's own query."""
    user_id = _person_behind(actor)
    user = User.objects.filter(pk=user_id).first() if user_id else None
    is_open = actor.kind != "key" or policies.from_codenames([codename]) <= policies.by_role(actor)
    if user is None or not is_open:
        return Model.objects.none().values("pk")
    found = get_objects_for_user(
        user,
        codename,
        klass=Model.objects.all(),
        use_groups=False,  # a tenant's grants are looked up by tenant, not through a person's groups
        with_superuser=False,
        accept_global_perms=False,
    )
    return found.values("pk")
