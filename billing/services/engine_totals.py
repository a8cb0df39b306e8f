"""What engines counted themselves, kept for reconciliation. Reported by heartbeats, any number of times."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import transaction

from billing.models import EngineTotal

_COUNTS = ("requests", "prompt_tokens", "completion_tokens", "busy_ns", "attributed_ns")


@transaction.atomic
def record(
    *,
    replica: str,
    deployment_id: UUID | None,
    begun_at: datetime,
    ended_at: datetime | None,
    requests: int,
    prompt_tokens: int,
    completion_tokens: int,
    busy_ns: int,
    attributed_ns: int,
) -> EngineTotal:
    """Keep the totals of one replica's life so far. They only grow: a late, older report changes nothing.

    Idempotent, needs no scope: totals hold nothing of a tenant's.
    """
    given = dict(
        zip(_COUNTS, (requests, prompt_tokens, completion_tokens, busy_ns, attributed_ns), strict=True)
    )
    total, _made = EngineTotal.objects.get_or_create(
        replica=replica[:200], begun_at=begun_at, defaults={"deployment_id": deployment_id}
    )
    total = EngineTotal.objects.select_for_update().get(pk=total.pk)
    for name, value in given.items():
        setattr(total, name, max(getattr(total, name), value))
    if ended_at is not None:
        total.ended_at = max(total.ended_at or ended_at, ended_at)
    total.save()
    return total
