"""Who may do what with one model, and with what belongs to no model. Pure; asks no database.

What a person may do with a model inside a tenant is the union of three: what their role gives them on the
tenant's own models, what the tenant as a whole was granted, and what they were granted by name. Nothing of
it is carried over from another tenant of the same person: every part is looked up inside the active one
(selectors.permissions_on).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.utils.translation import gettext as _

from access import policies as access
from core.actors import Actor
from core.errors import InvalidInput, NotAllowed

VIEW, INVOKE, DEPLOY, MANAGE = "view", "invoke", "deploy", "manage"
PERMISSIONS: Final = (VIEW, INVOKE, DEPLOY, MANAGE)
EVERYTHING: Final = frozenset(PERMISSIONS)
# What a tenant can be given on another's model. Not `manage`: rows are written by their owner alone.
GRANTABLE_TO_TENANTS: Final = frozenset({VIEW, INVOKE, DEPLOY})

# On the tenant's own models, by role; for keys by scope.
_BY_ROLE: Final[dict[str, frozenset[str]]] = {
    "owner": EVERYTHING,
    "admin": EVERYTHING,
    "developer": frozenset({VIEW, INVOKE, DEPLOY}),
    "viewer": frozenset({VIEW}),
    "billing": frozenset({VIEW}),
}
_BY_SCOPE: Final[dict[str, frozenset[str]]] = {
    "invoke": frozenset({VIEW, INVOKE}),
    "read": frozenset({VIEW}),
    "manage": frozenset({VIEW, DEPLOY, MANAGE}),
}
# A grant to the tenant lets every member look and invoke; to deploy with it takes a role that deploys, or a
# viewer could start engines on the tenant's bill.
_FOR_EVERY_MEMBER: Final = frozenset({VIEW, INVOKE})


def by_role(actor: Actor) -> frozenset[str]:
    """What `actor` may do with models that are the active tenant's own."""
    if actor.is_operator:
        return EVERYTHING
    if actor.kind == "key":
        return frozenset().union(*(_BY_SCOPE.get(scope, frozenset()) for scope in actor.scopes))
    if actor.platform_role == "support" and not actor.role:
        return frozenset({VIEW})
    return _BY_ROLE.get(actor.role, frozenset())


def effective(
    actor: Actor, *, is_own: bool, to_tenant: Iterable[str] = (), to_member: Iterable[str] = ()
) -> frozenset[str]:
    """What `actor` may do with one visible model: role ∪ grants to the tenant ∪ grants to the member.

    `is_own`: the model is the active tenant's, or, behind the platform door, anybody's. `to_tenant` counts
    a public model as granted to look at and to invoke.
    """
    role = by_role(actor)
    # A key invokes only with the scope for it; a person's membership, whatever the role, is enough.
    is_member = actor.kind == "person" and actor.role not in ("", "auditor")  # auditors use nothing
    shared = role | _FOR_EVERY_MEMBER if is_member else role
    found = (role if is_own else frozenset()) | (frozenset(to_tenant) & shared) | frozenset(to_member)
    return found | {VIEW} if found else found


def require(permissions: frozenset[str], needed: str) -> None:
    """Raise NotAllowed unless `needed` is among what the actor may do with the model."""
    if needed not in permissions:
        raise NotAllowed(_("You may not do this with this model."))


def require_owner(actor: Actor, permission: str, *, is_platform: bool) -> None:
    """Raise NotAllowed unless `actor` may `permission`; the platform's own things are operators' business."""
    access.require(actor, permission)
    if is_platform:
        access.require(actor, "models_registry.platform.change")


def codename(permission: str) -> str:
    """guardian's name for one of ours. Raises InvalidInput for an unknown one."""
    if permission not in PERMISSIONS:
        raise InvalidInput(
            _("“%(name)s” is not a permission. There are: %(known)s.")
            % {"name": permission[:50], "known": ", ".join(PERMISSIONS)},
            field="permissions",
        )
    return f"{permission}_model"


def from_codenames(codenames: Iterable[str]) -> frozenset[str]:
    """Our names for guardian's; others of Django's (add, change, delete) mean nothing here."""
    return frozenset(name.removesuffix("_model") for name in codenames) & EVERYTHING
