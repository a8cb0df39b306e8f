"""Who may change tenants and members, where the table of access.policies alone does not say."""

from __future__ import annotations

from uuid import UUID

from access.policies import require
from core.actors import Actor
from tenants.models import LimitOwner, Role


def require_add(actor: Actor, role: str) -> None:
    """Raise NotAllowed unless `actor` may add a member with `role`; only owners make owners."""
    require(actor, "tenants.member.add")
    if role == Role.OWNER:
        require(actor, "tenants.owner.manage")


def require_change(actor: Actor, *, before: str, after: str) -> None:
    """Raise NotAllowed unless `actor` may change a member's role; owners are owners' business."""
    require(actor, "tenants.member.change")
    if Role.OWNER in (before, after):
        require(actor, "tenants.owner.manage")


def require_remove(actor: Actor, *, role: str, user_id: UUID) -> None:
    """Raise NotAllowed unless `actor` may remove this member. Everybody may leave."""
    if actor.kind == "person" and actor.id == user_id:
        return
    require(actor, "tenants.member.remove")
    if role == Role.OWNER:
        require(actor, "tenants.owner.manage")


def require_limit_change(actor: Actor, *, owner: str) -> None:
    """Raise NotAllowed unless `actor` may set, change or remove a limit of `owner`; ceilings are the platform's."""
    require(actor, "tenants.limit.change")
    if owner == LimitOwner.PLATFORM:
        require(actor, "tenants.limit.change_platform")
