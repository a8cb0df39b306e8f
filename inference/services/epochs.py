"""Ending what earlier memories of Valkey left set aside: the rest of an old escrow returns to its wallet (L10)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings

from billing.services import escrow
from core.valkey import sync_client
from inference.admission import release
from inference.admission.keys import EPOCH, TenantKeys
from inference.queue.keys import USAGE
from inference.services.sweep import MOST_PENDING, Held

log = structlog.get_logger(__name__)


def close_old() -> int:
    """Close the escrows of earlier memories that nothing in flight can be charged to; returns how many.

    A request that was admitted by an earlier memory and still runs is carried in the present one under its old epoch,
    and keeps it open; so does a usage record that waits for PostgreSQL. Before EPOCH_SETTLING_S have passed since
    this memory began, nothing is closed: by then every process has brought back its requests in flight, and every
    replica has sent the usage records that it could not send meanwhile. Idempotent.
    """
    current = release.scripts().confirm()
    valkey = sync_client()
    seconds, micros = valkey.time()
    since: Any = valkey.hget(EPOCH, "since")
    settling_ms = settings.EPOCH_SETTLING_S * 1000
    if since is None or seconds * 1000 + micros // 1000 - int(since) < settling_ms:
        return 0
    old = escrow.open_epochs(other_than=current)
    if not old or int(valkey.xlen(USAGE)) > MOST_PENDING:
        return 0
    pending = _pending()
    closed = 0
    for tenant_id, epoch in old:
        if (str(tenant_id), epoch) in pending or _is_carried(tenant_id, epoch):
            continue
        returned = escrow.close_epoch(tenant_id=tenant_id, epoch=epoch)
        log.info("epochs.closed", tenant_id=str(tenant_id), returned_nano=returned)
        closed += 1
    return closed


def _pending() -> set[tuple[str, str]]:
    """(tenant, epoch) of usage records that PostgreSQL does not have yet."""
    entries: Any = sync_client().xrange(USAGE, count=MOST_PENDING)
    notes = [msgspec.json.decode(fields[b"r"]) for _, fields in entries if fields]
    return {(note.get("tenant_id", ""), note.get("epoch", "")) for note in notes}


def _is_carried(tenant_id: UUID, epoch: str) -> bool:
    found = sync_client().hscan_iter(TenantKeys(str(tenant_id)).requests, count=500)
    return any(Held.of(name, raw).epoch == epoch for name, raw in found)
