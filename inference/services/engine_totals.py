"""What replicas say that they have done, for the reconciliation with usage records."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog

from billing.services import engine_totals as engine_totals_kept
from core import clock
from core.valkey import sync_client
from inference.queue.keys import ENGINE_TOTALS, written
from inference.queue.wire import EngineTotals
from inference.services.intake import WRITTEN_TTL_S

log = structlog.get_logger(__name__)

# A replica that has said nothing for so long was killed: its last word stands.
SILENT_MS = 60_000


def engine_totals() -> list[EngineTotals]:
    """Every replica's totals, of those at work, ended and killed since `forget` was last called. One round trip."""
    found: dict[bytes, bytes] = sync_client().hgetall(ENGINE_TOTALS)  # type: ignore[assignment]
    totals = []
    for replica, data in found.items():
        try:
            totals.append(msgspec.json.decode(data, type=EngineTotals))
        except msgspec.DecodeError:
            log.error("engine_totals.unreadable", replica=replica.decode(errors="replace")[:200])
    return totals


def has_ended(totals: EngineTotals) -> bool:
    """Whether a replica will say no more: it said so, or fell silent."""
    return totals.ended_ms is not None or clock.epoch_ms() - totals.seen_ms > SILENT_MS


def keep() -> int:
    """Bring every replica's totals to PostgreSQL, then drop those that will grow no more; returns how many."""
    found = engine_totals()
    for one in found:
        engine_totals_kept.record(
            replica=one.replica,
            deployment_id=UUID(one.deployment_id) if one.deployment_id else None,
            begun_at=_moment(one.begun_ms),
            ended_at=_moment(one.ended_ms or one.seen_ms) if has_ended(one) else None,
            requests=one.requests,
            prompt_tokens=one.prompt_tokens,
            completion_tokens=one.completion_tokens,
            busy_ns=one.busy_ns,
            attributed_ns=one.attributed_ns,
        )
    forget(found)
    return len(found)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def forget(totals: list[EngineTotals]) -> None:
    """Drop the totals of replicas that have ended, after COMMIT of what was made of them.

    Those of a replica that is at work stay: they grow.
    """
    pipeline = sync_client().pipeline(transaction=False)
    for one in totals:
        if not has_ended(one):
            continue
        pipeline.hdel(ENGINE_TOTALS, one.replica)
        journal, _, number = one.mark.rpartition(":")
        if journal:
            pipeline.sadd(written(journal), number)
            pipeline.expire(written(journal), WRITTEN_TTL_S)
    pipeline.execute()
