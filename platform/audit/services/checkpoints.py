"""Checkpoints: the heads of chains, signed and written outside of the database.

The record is safe in the sink before the database hears of it: a crash in between repeats nothing, because the next
run finds it there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import F, Q

from audit import keys
from audit.links import chain_name, stamp
from audit.models import AuditChain, AuditSeal
from audit.proof.verify import key_id, record_digest
from audit.sinks import CheckpointSink, checkpoint_sink
from core import clock
from core.scoping import platform_scope

log = structlog.get_logger(__name__)


def sign_due(*, at_once: bool = False) -> int:
    """Sign the heads of chains that have links without a checkpoint. Returns how many were signed.

    A chain waits AUDIT_CHECKPOINT_S after its last one, unless `at_once`. Raises OSError when the sink takes nothing.
    """
    if not settings.AUDIT_KEYS:
        log.error("audit.no_signing_key")
        return 0
    due = Q(sequence__gt=F("checkpoint_sequence"))
    if not at_once:
        rested = clock.now() - timedelta(seconds=settings.AUDIT_CHECKPOINT_S)
        due &= Q(checkpoint_at=None) | Q(checkpoint_at__lte=rested)
    with platform_scope("audit.sign"):
        owners = [owner for (owner,) in AuditChain.objects.filter(due).values_list("tenant_id")]
    if owners:
        introduce_key(checkpoint_sink())
    return sum(map(_sign, owners))


def introduce_key(sink: CheckpointSink) -> None:
    """Make the signing key known before it signs for the first time."""
    record = keys.introduction(sink.key_records(), clock.now())
    if record is not None:
        sink.append_key(record)


def _sign(tenant_id: UUID | None) -> bool:
    """Sign one chain's head. False where another process does, or nothing is left to sign."""
    with platform_scope("audit.sign"):
        chain = (
            AuditChain.objects.select_for_update(skip_locked=True)
            .filter(tenant_id=tenant_id, sequence__gt=F("checkpoint_sequence"))
            .first()
        )
        if chain is None:
            return False
        # SECURITY: what is signed is a link, and not what the head's row, which can be changed, says of it.
        link = AuditSeal.objects.filter(tenant_id=tenant_id, sequence=chain.sequence).first()
        if link is None or link.hash != chain.hash:
            log.error("audit.head_is_no_link", chain=chain_name(tenant_id), sequence=chain.sequence)
            return False
        write_record(chain, kind="checkpoint")
        return True


def write_record(chain: AuditChain, *, kind: str, **more: Any) -> dict[str, Any]:
    """Sign a record of a chain's head, keep it, and note that in the head's row, which the caller has locked.

    One that is the sink's newest already is not written twice. Raises OSError.
    """
    sink, name, now = checkpoint_sink(), chain_name(chain.tenant_id), clock.now()
    last = sink.last(name)
    record: dict[str, Any] = {
        "kind": kind,
        "chain": name,
        "sequence": chain.sequence,
        "hash": chain.hash,
        **more,
    }
    if last is None or any(last.get(field) != value for field, value in record.items()):
        if last is not None and int(last.get("sequence") or 0) > chain.sequence:
            # The links that were signed are gone. What is there is signed all the same, so that it can be held
            # against what comes; verification shows the fork for good.
            log.error("audit.history_went_back", chain=name, signed=last["sequence"], head=chain.sequence)
        key = keys.signing_keys()[0]
        record["time"] = stamp(now)
        record["previous"] = record_digest(last) if last is not None else None
        record["key_id"] = key_id(keys.public_key(key))
        keys.sign(record, key)
        sink.append(name, record)
    chain.checkpoint_sequence, chain.checkpoint_at = chain.sequence, now
    chain.save(update_fields=["checkpoint_sequence", "checkpoint_at"])
    return record
