"""Failures of rule sets and checkers in the audit trail: once each, however many requests and processes meet them."""

from __future__ import annotations

from contextlib import nullcontext
from uuid import UUID

import structlog
from django.db import transaction
from redis.exceptions import RedisError

from audit import services as audit
from core.actors import system
from core.scoping import tenant_scope
from core.valkey import sync_client

log = structlog.get_logger(__name__)

ACTOR = system("safety")
# One incident is told of again after this long, in case it is still there.
REMIND_S = 3600


def report(*, tenant_id: UUID | None, what: str, effect: str, error: str) -> bool:
    """Write that `what` (the id of a rule set, "checker", "database") failed, and what comes of it for requests.

    `effect` is last_good, closed or open; `tenant_id` none: the platform's own set. True when it was this call that
    wrote. Raises DatabaseError when nothing can be written; call again then. Opens the tenant's scope itself.
    """
    log.error(
        "safety.guard_failed", tenant_id=str(tenant_id or ""), what=what, effect=effect, error=error[:300]
    )
    key = _key(tenant_id, what)
    try:
        if not sync_client().set(key, effect, nx=True, ex=REMIND_S):
            return False
    except RedisError:
        log.warning("safety.incident_not_shared", what=what)  # every process writes its own then
    try:
        _write("safety.guard.failed", tenant_id, {"what": what, "effect": effect, "error": error[:300]})
    except Exception:
        _release(key)
        raise
    return True


def recovered(*, tenant_id: UUID | None, what: str) -> bool:
    """Write that it works again; True when it was this call that wrote. Raises DatabaseError."""
    try:
        if not sync_client().delete(_key(tenant_id, what)):
            return False
    except RedisError:
        log.warning("safety.incident_not_shared", what=what)
    log.info("safety.guard_recovered", tenant_id=str(tenant_id or ""), what=what)
    _write("safety.guard.recovered", tenant_id, {"what": what})
    return True


def _write(action: str, tenant_id: UUID | None, after: dict[str, str]) -> None:
    door = nullcontext() if tenant_id is None else tenant_scope(tenant_id)
    with door, transaction.atomic():
        audit.record(action, actor=ACTOR, tenant_id=tenant_id, after=after)


def _release(key: str) -> None:
    try:
        sync_client().delete(key)
    except RedisError:
        log.warning("safety.incident_not_shared", key=key)


def keys_of(tenant_id: UUID) -> str:
    """The pattern of all keys of a tenant's incidents."""
    return _key(tenant_id, "*")


def _key(tenant_id: UUID | None, what: str) -> str:
    return f"atrium:{{{tenant_id or 'platform'}}}:safety:incident:{what}"
