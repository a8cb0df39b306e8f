"""What of an event is sealed, and how its row becomes that. Every column is in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from core.encryption import keyed_digest
from core.ids import parse_public_id, public_id

PLATFORM_CHAIN: Final = "platform"
TENANT_PREFIX: Final = "ten"
# The form that new seals have. A change of the fields is another form, and the old ones stay readable.
FORM: Final = 1
# Of these actors tenants see what they did and not where they sat.
STAFF_ROLES: Final = frozenset({"operator", "support", "platform_auditor"})
# The columns of the event's table, in the order in which `sealed_fields` takes them.
COLUMNS: Final = (
    *("id", "tenant_id", "occurred_at", "action", "actor_kind", "actor_id", "actor_label", "actor_role"),
    *("address", "target_type", "target_id", "target_label", "reason", "before", "after", "request_id"),
)


@lru_cache(maxsize=1024)
def chain_name(tenant_id: UUID | None) -> str:
    """The name of a chain outside: the tenant's public id, or "platform"."""
    return PLATFORM_CHAIN if tenant_id is None else public_id(TENANT_PREFIX, tenant_id)


def tenant_of_chain(name: str) -> UUID | None:
    """The other way round. Raises ValueError."""
    return None if name == PLATFORM_CHAIN else parse_public_id(name, TENANT_PREFIX)


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def sealed_fields(row: tuple[Any, ...], form: int = FORM) -> dict[str, Any]:
    """What is hashed and exported of one row of COLUMNS. JSON columns may come as text or as values.

    SECURITY: of staff's addresses only a keyed digest is in it, so that a tenant's export tells nothing of them
    and proves the rest all the same.
    """
    event = dict(zip(COLUMNS, row, strict=True))
    event_id = str(event["id"])
    event["id"] = event_id
    event["form"] = form
    event["chain"] = chain_name(event.pop("tenant_id"))
    event["occurred_at"] = stamp(event["occurred_at"])
    if event["actor_id"] is not None:
        event["actor_id"] = str(event["actor_id"])
    if event["address"] and event["actor_role"] in STAFF_ROLES:
        event["address"] = "hmac:" + keyed_digest("audit-address", f"{event_id}\n{event['address']}")
    for name in ("before", "after"):
        if isinstance(event[name], str):
            event[name] = json.loads(event[name])
    return event
