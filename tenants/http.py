"""What the middleware adds to a request, for type checkers and people."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from access.models import APIKey
from accounts.models import User
from core.actors import Actor
from core.errors import DomainError
from tenants.models import Membership, Tenant


class ScopedHttpRequest(HttpRequest):
    """A request after TenantMiddleware.

    `tenant` is the active one, none for people without a membership and behind the platform door; `actor`
    none for strangers; `memberships` a signed-in person's, with tenants, by short name; `api_key` the key
    of a program; `credential_error` why an `Authorization` header was not accepted, for the REST layer to
    answer with; `has_platform_door` whether rows of all tenants are in sight.
    """

    user: User  # AnonymousUser for strangers and for keys
    tenant: Tenant | None
    actor: Actor | None
    membership: Membership | None
    memberships: list[Membership]
    api_key: APIKey | None
    credential_error: DomainError | None
    has_platform_door: bool


def tenant_of(request: HttpRequest) -> Tenant:
    """The active tenant of a tenant's page. Raises PermissionDenied where there is none: `tenant_page` came first."""
    tenant = getattr(request, "tenant", None)
    if not isinstance(tenant, Tenant):
        raise PermissionDenied
    return tenant
