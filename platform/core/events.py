"""Policy events: what every process must hear of within a second (a key revoked, a tenant suspended).

Written to one capped stream after the transaction commits; web processes and engine workers read it and
drop what they have cached. A reader that lost its place drops everything, so a lost event costs time and
never a wall.
"""

from __future__ import annotations

import json
from typing import Literal
from uuid import UUID

import structlog
from django.db import transaction
from redis.exceptions import RedisError

from core.valkey import sync_client

log = structlog.get_logger(__name__)

STREAM = "atrium:events"
MAX_LENGTH = 10_000

Kind = Literal["tenant", "key", "registry", "member", "safety"]


def announce(kind: Kind, *, tenant_id: UUID | None = None, object_id: UUID | None = None) -> None:
    """Tell every process, once the running transaction has committed, that something cached is no longer
    true.

    `tenant_id` none means that any tenant may be touched. Does not raise when Valkey is away: the caches
    also age out by themselves (settings.POLICY_CACHE_S).
    """
    fields = {
        "event": json.dumps(
            {
                "kind": kind,
                "tenant_id": str(tenant_id) if tenant_id else None,
                "object_id": str(object_id) if object_id else None,
            }
        )
    }

    def publish() -> None:
        try:
            sync_client().xadd(STREAM, fields, maxlen=MAX_LENGTH, approximate=True)  # type: ignore[arg-type]
        except RedisError:
            log.warning("events.not_announced", kind=kind, exc_info=True)

    transaction.on_commit(publish)
