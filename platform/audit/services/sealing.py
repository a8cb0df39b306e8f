"""The sealer: gives every committed event its place in its tenant's chain, off the way of whoever wrote it.

Each batch is one transaction, so that a crash leaves a batch done or not begun. The chain's order is the order of
sealing: an event that commits late stands behind younger ones.
"""

from __future__ import annotations

from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError

from audit import trail
from audit.links import COLUMNS, FORM, chain_name, sealed_fields, stamp
from audit.models import AuditChain, AuditEvent, AuditPending, AuditSeal
from audit.proof.verify import GENESIS, event_digest, link_hash
from core import clock
from core.scoping import platform_scope

log = structlog.get_logger(__name__)

BATCH = 1_000


def seal() -> int:
    """Seal what waits, of all chains. Returns how many events. Safe to run twice at once: chains are locked.

    A chain whose head contradicts its links is left alone and logged: verification names the place.
    """
    with platform_scope("audit.seal"):
        owners = [owner for (owner,) in AuditPending.objects.values_list("tenant_id").distinct()]
    return sum(map(seal_chain, owners))


def seal_chain(tenant_id: UUID | None) -> int:
    """Seal what waits of one chain, batch by batch. Returns how many events."""
    count, after = 0, UUID(int=0)
    try:
        while True:
            with platform_scope("audit.seal"):
                notes, sealed = _seal_batch(tenant_id, after)
            count += sealed
            if len(notes) < BATCH:
                return count
            # What was looked at is not gone through again. What commits behind `after` waits for the next run.
            after = notes[-1]
    except IntegrityError:
        log.exception("audit.chain_contradicts_itself", chain=chain_name(tenant_id))
        return count


def _seal_batch(tenant_id: UUID | None, after: UUID) -> tuple[list[UUID], int]:
    """Seal the events of the next BATCH notes behind `after`, by id. Returns the notes, and how many were sealed."""
    chain = lock_chain(tenant_id)
    waiting = AuditPending.objects.filter(tenant_id=tenant_id, pk__gt=after).order_by("pk")
    notes = [note for (note,) in waiting.values_list("pk")[:BATCH]]
    rows = list(AuditEvent.objects.filter(pk__in=notes).order_by("pk").values_list(*COLUMNS))
    if not rows:
        return notes, 0
    name = chain_name(tenant_id)
    # A clock that was put back does not put the chain's time back.
    now = max(clock.now(), chain.sealed_at or clock.now())
    previous, sequence, seals = chain.hash, chain.sequence, []
    for row in rows:
        sequence += 1
        digest = event_digest(sealed_fields(row))
        previous = link_hash(previous, name, sequence, stamp(now), str(row[0]), digest)
        seals.append(
            AuditSeal(
                tenant_id=tenant_id,
                sequence=sequence,
                event_id=row[0],
                event_digest=digest,
                hash=previous,
                sealed_at=now,
                form=FORM,
            )
        )
    AuditSeal.objects.bulk_create(seals)
    # Notes of events that are gone stay where they are, for verification to find.
    AuditPending.objects.filter(pk__in=[row[0] for row in rows]).delete()
    chain.sequence, chain.hash, chain.sealed_at = sequence, previous, now
    chain.save(update_fields=["sequence", "hash", "sealed_at"])
    return notes, len(rows)


def lock_chain(tenant_id: UUID | None) -> AuditChain:
    """The chain's head, made where there is none, locked to the end of the transaction. Platform door."""
    found = AuditChain.objects.select_for_update().filter(tenant_id=tenant_id).first()
    if found is not None:
        return found
    last = AuditSeal.objects.filter(tenant_id=tenant_id).order_by("-sequence").first()
    head = AuditChain(
        tenant_id=tenant_id,
        sequence=last.sequence if last else 0,
        hash=last.hash if last else GENESIS,
        sealed_at=last.sealed_at if last else None,
    )
    AuditChain.objects.bulk_create([head], ignore_conflicts=True)  # two sealers at once make one
    return AuditChain.objects.select_for_update().get(tenant_id=tenant_id)


def watch() -> bool:
    """Log an error while events wait longer than they may. True when all is well."""
    with platform_scope("audit.watch"):
        since = trail.oldest_waiting()
    waited = (clock.now() - since).total_seconds() if since is not None else 0.0
    if waited <= settings.AUDIT_UNSEALED_S:
        return True
    log.error("audit.unsealed", seconds=round(waited))
    return False
