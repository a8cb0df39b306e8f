"""What can go wrong with tenants and members, each with a stable code."""

from __future__ import annotations

from core.errors import Conflict


class SlugTaken(Conflict):
    """Another tenant has this short name."""

    code = "slug_taken"


class WrongStatus(Conflict):
    """The tenant is in a state from which this cannot be done."""

    code = "wrong_status"


class AlreadyMember(Conflict):
    """The person is a member of the tenant already."""

    code = "already_member"


class LastOwner(Conflict):
    """A tenant without an owner could not be run by anybody."""

    code = "last_owner"


class PlanInUse(Conflict):
    """Tenants have this plan."""

    code = "plan_in_use"


class LimitExists(Conflict):
    """There is a limit of this owner, kind and reach already."""

    code = "limit_exists"
