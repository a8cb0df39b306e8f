"""Adding, changing and removing a tenant's members, inside its scope or behind the platform door."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from audit import services as audit
from core.actors import Actor
from core.errors import InvalidInput, NotFound
from core.events import announce
from tenants import policies
from tenants.errors import AlreadyMember, LastOwner
from tenants.models import Membership, Role, Tenant
from tenants.services.tenants import lock


@transaction.atomic
def add(*, tenant: Tenant, user: User, role: str, actor: Actor) -> Membership:
    """Make `user` a member. Raises NotAllowed, InvalidInput, AlreadyMember, NotFound."""
    _require_known(role)
    policies.require_add(actor, role)
    locked = lock(tenant)
    if Membership.objects.filter(tenant_id=locked.pk, user_id=user.pk).exists():
        raise AlreadyMember(_("This person is a member already."), field="user")
    membership = Membership(tenant_id=locked.pk, user=user, role=role)
    membership.save(force_insert=True)
    audit.record(
        "tenants.member.added",
        actor=actor,
        target=membership,
        after={"email": user.email, "role": role},
    )
    announce("member", tenant_id=locked.pk, object_id=user.pk)
    return membership


@transaction.atomic
def change_role(*, membership: Membership, role: str, actor: Actor, reason: str = "") -> Membership:
    """Give a member another role. Raises NotAllowed, InvalidInput, LastOwner, NotFound."""
    _require_known(role)
    locked = _lock(membership)
    before = locked.role
    policies.require_change(actor, before=before, after=role)
    if role == before:
        return locked
    if before == Role.OWNER:
        _refuse_last_owner(locked)
    locked.role = role
    locked.save(update_fields=["role", "updated_at"])
    audit.record(
        "tenants.member.role_changed",
        actor=actor,
        target=locked,
        reason=reason,
        before={"role": before},
        after={"role": role},
    )
    announce("member", tenant_id=locked.tenant_id, object_id=locked.user_id)
    return locked


@transaction.atomic
def remove(*, membership: Membership, actor: Actor) -> None:
    """End a membership; everybody may end their own. Raises NotAllowed, LastOwner, NotFound."""
    locked = _lock(membership)
    policies.require_remove(actor, role=locked.role, user_id=locked.user_id)
    if locked.role == Role.OWNER:
        _refuse_last_owner(locked)
    audit.record(
        "tenants.member.removed",
        actor=actor,
        target=locked,
        before={"email": locked.user.email, "role": locked.role},
    )
    tenant_id, user_id = locked.tenant_id, locked.user_id
    locked.delete()
    announce("member", tenant_id=tenant_id, object_id=user_id)


def _lock(membership: Membership) -> Membership:
    """The row, and the tenant's row before it: two owners who remove each other at once take turns."""
    found = Membership.objects.filter(pk=membership.pk).select_related("tenant").first()
    if found is None:
        raise NotFound(_("There is no such member."))
    lock(found.tenant)
    locked: Membership | None = (
        Membership.objects.select_for_update(of=("self",)).select_related("user").filter(pk=found.pk).first()
    )
    if locked is None:
        raise NotFound(_("There is no such member."))
    return locked


def _refuse_last_owner(membership: Membership) -> None:
    others = Membership.objects.filter(
        tenant_id=membership.tenant_id, role=Role.OWNER, user__is_active=True
    ).exclude(pk=membership.pk)
    if not others.exists():
        raise LastOwner(_("A tenant needs an owner. Make somebody else an owner first."))


def _require_known(role: str) -> None:
    if role not in Role.values:
        raise InvalidInput(
            _("“%(role)s” is not a role. There are: %(known)s.")
            % {"role": role[:50], "known": ", ".join(Role.values)},
            field="role",
        )
