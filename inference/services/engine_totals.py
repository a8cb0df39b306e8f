"""What replicas say that they have done, for the reconciliation with usage records."""

from __future__ import annotations

import msgspec
import structlog

from core import clock
from core.valkey import sync_client
from inference.queue.keys import ENGINE_TOTALS, written
from inference.queue.wire import EngineTotals
from inference.services.usage import WRITTEN_TTL_S

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
