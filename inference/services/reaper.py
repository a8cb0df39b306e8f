"""Clears up after crashes: requests whose web process is gone, and that no replica has, are accounted for here."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog

from core import clock
from core.scoping import platform_scope
from core.valkey import sync_client
from inference.queue.blocking import BlockingQueue
from inference.queue.client import with_age
from inference.queue.keys import WEBS
from inference.queue.wire import Ticket, decode_ticket, note_from
from models_registry.models import Deployment

log = structlog.get_logger(__name__)

WEB_DEAD_MS = 15_000
REPLICA_DEAD_MS = 15_000


def reap() -> int:
    """One round over all deployments; returns how many requests were accounted for."""
    valkey = sync_client()
    seconds, micros = valkey.time()
    now_ms = seconds * 1000 + micros // 1000
    webs: dict[bytes, bytes] = valkey.hgetall(WEBS)  # type: ignore[assignment]
    alive = {name.decode() for name, beat in webs.items() if with_age(beat, now_ms)["age_ms"] < WEB_DEAD_MS}
    for name in webs.keys() - {name.encode() for name in alive}:
        valkey.hdel(WEBS, name)
    with platform_scope("the reaper lists deployments"):
        deployments = list(Deployment.objects.values_list("pk", flat=True))
    return sum(_reap_deployment(pk, alive, now_ms) for pk in deployments)


def _reap_deployment(deployment: UUID, webs: set[str], now_ms: int) -> int:
    valkey = sync_client()
    queue = BlockingQueue(valkey, str(deployment))
    keys = queue.keys
    beats: dict[bytes, bytes] = valkey.hgetall(keys.replicas)  # type: ignore[assignment]
    replicas = {name for name, beat in beats.items() if with_age(beat, now_ms)["age_ms"] < REPLICA_DEAD_MS}
    reaped = 0
    for identifier, payload in valkey.hscan_iter(keys.requests, count=500):
        ticket = decode_ticket(payload)
        if ticket.web in webs or clock.epoch_ms() - ticket.enqueued_ms < WEB_DEAD_MS:
            continue
        replica: Any = valkey.hget(keys.running, identifier)
        if replica in replicas:
            continue  # it sees for itself that the web process is gone
        _account(queue, ticket, "cancelled" if replica is None else "lost")
        reaped += 1
    if reaped:
        log.warning("reaper.reaped", deployment=str(deployment), requests=reaped)
    return reaped


def _account(queue: BlockingQueue, ticket: Ticket, outcome: str) -> None:
    note = note_from(ticket, outcome=outcome, code="gateway_lost", finished_ms=clock.epoch_ms())
    note.completion_tokens = sum(map(len, ticket.forced))
    queue.account(note)
