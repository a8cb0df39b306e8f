"""Who calls: a key's or a member's authority, as an immutable snapshot that a web process may keep in memory."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from channels.db import database_sync_to_async

from access.models import APIKey
from access.policies import PERMISSIONS
from access.selectors import key_line
from core import clock
from core.encryption import keyed_digest
from core.scoping import key_scope, tenant_scope
from inference.admission.rules import Policy, policy_for
from inference.call_logs.policy import LogTerms, terms_in_scope
from inference.gateway.errors import Rejected, invalid_key
from models_registry.selectors import Route, routes_for
from tenants.models import Membership, Tenant

INVOKE = "invoke"


@dataclass(frozen=True, slots=True)
class Caller:
    """One tenant's key or member, with what it may call. Identity comes from the credential only (L5)."""

    tenant_id: UUID
    tenant_slug: str
    tenant_status: str
    user_id: UUID | None
    key_id: UUID | None
    digest: str  # of the key; "" for a member
    may_invoke: bool
    expires_at: float | None  # seconds since 1970
    revoked_at: float | None
    allowed_models: frozenset[str]  # empty: all that the tenant may use
    networks: tuple[str, ...]  # empty: from anywhere
    routes: Mapping[str, Route]
    salt: str  # of the tenant's prefix cache
    policy: Policy = field(default_factory=Policy)  # plan, limits and prices
    logs: LogTerms = field(default_factory=LogTerms)  # how much of its requests is kept

    def check(self, address: str) -> None:
        """Raises Rejected unless this caller may call now, from `address`. Cheap: no look-up."""
        self.check_standing()
        if self.networks and not _inside(address, self.networks):
            raise Rejected(403, "address_not_allowed", "This key may not be used from this network address.")

    def check_standing(self) -> None:
        """As `check`, for a request that is under way: revoked, expired, suspended, or no longer allowed to call."""
        now = clock.epoch_ms() / 1000
        if self.revoked_at is not None and self.revoked_at <= now:
            raise invalid_key()
        if self.expires_at is not None and self.expires_at <= now:
            raise invalid_key()
        if self.tenant_status != "active":
            raise Rejected(403, "tenant_suspended", "This tenant is suspended. Ask the platform's operator.")
        if not self.may_invoke:
            raise Rejected(
                403,
                "missing_scope",
                "This credential may not call models: a key needs the scope 'invoke', a member a role that calls.",
            )

    def visible_routes(self) -> dict[str, Route]:
        """The public names that this caller may use."""
        return {name: route for name, route in self.routes.items() if self._sees(name, route)}

    def route(self, name: str) -> Route:
        """The route behind a public name. Raises Rejected(404) for absent and forbidden alike."""
        route = self.routes.get(name)
        if route is None or not self._sees(name, route):
            raise Rejected(
                404,
                "model_not_found",
                f"The model '{name[:200]}' does not exist or you do not have access to it. GET /v1/models lists yours.",
                param="model",
            )
        return route

    def _sees(self, name: str, route: Route) -> bool:
        if self.allowed_models and name not in self.allowed_models:
            return False
        allowed = route.allowed_user_ids
        return allowed is None or self.user_id in allowed


@lru_cache(maxsize=4096)
def _inside(address: str, networks: tuple[str, ...]) -> bool:
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(host in ipaddress.ip_network(network, strict=False) for network in networks)


@lru_cache(maxsize=4096)
def cache_salt(tenant_id: UUID) -> str:
    """The tenant's prefix-cache salt: an HMAC, so that nobody can guess another's (L5, CVE-2025-46570)."""
    return keyed_digest("cache-salt", str(tenant_id))[:43]


def load_for_key(digest: str) -> Caller | None:
    """The caller behind a key's digest, from PostgreSQL (a few short queries); None when there is no such key."""
    with key_scope(digest):
        key = APIKey.unscoped.filter(digest=digest).first()
    if key is None:
        return None
    with tenant_scope(key.tenant_id):
        tenant = Tenant.objects.select_related("plan").get(pk=key.tenant_id)
        routes = {route.name: route for route in routes_for(tenant_id=key.tenant_id)}
        policy = policy_for(tenant=tenant, routes=routes, keys=key_line(key=key))
        logs = terms_in_scope()
    return Caller(
        tenant_id=tenant.pk,
        tenant_slug=tenant.slug,
        tenant_status=tenant.status,
        user_id=key.created_by_id,
        key_id=key.pk,
        digest=digest,
        may_invoke=INVOKE in key.scopes,
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
        revoked_at=key.revoked_at.timestamp() if key.revoked_at else None,
        allowed_models=frozenset(key.allowed_models),
        networks=tuple(key.allowed_networks),
        routes=routes,
        salt=cache_salt(tenant.pk),
        policy=policy,
        logs=logs,
    )


def load_for_member(user_id: UUID, tenant_id: UUID) -> Caller | None:
    """The caller that a signed-in member is in one tenant; None when the person is not a member (or not active)."""
    with tenant_scope(tenant_id, user_id=user_id):
        membership = Membership.objects.filter(user_id=user_id, user__is_active=True).first()
        if membership is None:
            return None
        tenant = Tenant.objects.select_related("plan").get(pk=tenant_id)
        routes = {route.name: route for route in routes_for(tenant_id=tenant_id)}
        policy = policy_for(tenant=tenant, routes=routes)
        logs = terms_in_scope()
    return Caller(
        tenant_id=tenant.pk,
        tenant_slug=tenant.slug,
        tenant_status=tenant.status,
        user_id=user_id,
        key_id=None,
        digest="",
        may_invoke=membership.role in PERMISSIONS["inference.model.invoke"],
        expires_at=None,
        revoked_at=None,
        allowed_models=frozenset(),
        networks=(),
        routes=routes,
        salt=cache_salt(tenant.pk),
        policy=policy,
        logs=logs,
    )


# The only thread hop of the data plane: a snapshot that is not in memory yet (L1: never on the warm path).
# The threads give their connection back to the pool each time; kept ones would use it up.
load_for_key_async = database_sync_to_async(load_for_key, thread_sensitive=False)
load_for_member_async = database_sync_to_async(load_for_member, thread_sensitive=False)
