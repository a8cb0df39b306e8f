"""Holds whose owner fell silent: settled by their usage record, left alone, or given back (law L14).

A web process renews what it holds for its requests every ten seconds. What has expired belonged to a request that
ended and was settled without Valkey hearing of it, that is still in a queue or an engine, or that is nowhere any
more. A usage record moves from the ticket to the stream to PostgreSQL; looking in that order, none is missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import structlog

from billing.models import UsageRecord
from core.scoping import tenant_scope
from core.valkey import sync_client
from inference.admission import release
from inference.admission.client import TTL_MS
from inference.admission.keys import TENANTS, TenantKeys
from inference.admission.loader import Call
from inference.admission.port import treasury
from inference.queue.keys import USAGE, DeploymentKeys

log = structlog.get_logger(__name__)

MOST_EXPIRED = 500
MOST_PENDING = 50_000
TENANTS_AT_ONCE = 200
# How long a tenant must have asked for no money before its escrow goes back to PostgreSQL.
IDLE_MS = 300_000
# How long a tenant without requests stays on the list; longer than holds last, so that none is forgotten.
QUIET_MS = 600_000


@dataclass(frozen=True, slots=True)
class Held:
    """A request whose hold has expired."""

    request_id: str
    epoch: str
    hold_nano: int
    deployment: str

    @classmethod
    def of(cls, request_id: bytes, raw: bytes) -> Held:
        """Out of what the script stores: month, time, record."""
        record = msgspec.msgpack.decode(raw[23:])
        epoch, hold, _, _, _, _, deployment, *_ = record
        return cls(request_id.decode(), _text(epoch), int(hold), _text(deployment))


@dataclass(frozen=True, slots=True)
class _Known:
    """A usage record of PostgreSQL as `release` takes it."""

    request_id: str
    tenant_id: str
    epoch: str
    charge_nano: int
    tokens: int
    gpu_ns: int


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def sweep() -> int:
    """One round over the tenants that were active lately; returns how many holds were given back or settled."""
    valkey = sync_client()
    seconds, micros = valkey.time()
    now_ms = seconds * 1000 + micros // 1000
    tenants: list[tuple[bytes, float]] = valkey.zrange(TENANTS, 0, -1, withscores=True)  # type: ignore[assignment]
    done, quiet = 0, set[str]()
    for start in range(0, len(tenants), TENANTS_AT_ONCE):
        part = [name.decode() for name, _ in tenants[start : start + TENANTS_AT_ONCE]]
        calls: list[Call] = [("expired", TenantKeys(tenant), [TTL_MS, MOST_EXPIRED]) for tenant in part]
        answers = release.scripts().calls(calls)
        for tenant, (unsettled, *expired) in zip(part, answers, strict=True):
            if not unsettled:
                quiet.add(tenant)
            if expired:
                done += _settle(tenant, [Held.of(name, raw) for name, raw in expired])
    seen = {name.decode(): at for name, at in tenants}
    _give_back([tenant for tenant in quiet if seen[tenant] < now_ms - IDLE_MS])
    forgotten = [tenant for tenant in quiet if seen[tenant] < now_ms - QUIET_MS]
    if forgotten:
        valkey.zrem(TENANTS, *forgotten)
    return done


def _settle(tenant: str, expired: list[Held]) -> int:
    queued = _in_queue(expired)
    pending = _in_stream([held for held in expired if held.request_id not in queued])
    waiting = queued | pending
    gone = [held for held in expired if held.request_id not in waiting]
    known = _in_database(tenant, gone)
    if waiting:
        _keep(tenant, [held for held in expired if held.request_id in waiting])
    done = release.release(known.values()) if known else 0
    whole = [held for held in gone if held.request_id not in known]
    if whole:
        items = [[held.request_id, held.epoch, 0, 0, 0, release.GIVEN_UP] for held in whole]
        done += int(release.scripts().call("release", TenantKeys(tenant), items))
        log.warning("sweep.gave_back", tenant_id=tenant, requests=len(whole))
    return done


def _in_queue(expired: Iterable[Held]) -> set[str]:
    by_deployment: defaultdict[str, list[str]] = defaultdict(list)
    for held in expired:
        by_deployment[held.deployment].append(held.request_id)
    found: set[str] = set()
    for deployment, ids in by_deployment.items():
        tickets: Any = sync_client().hmget(DeploymentKeys(deployment).requests, ids)
        found |= {name for name, ticket in zip(ids, tickets, strict=True) if ticket is not None}
    return found


def _in_stream(expired: list[Held]) -> set[str]:
    """Requests whose usage record waits for PostgreSQL; all of them when too many wait to look through."""
    if not expired:
        return set()
    wanted = {held.request_id for held in expired}
    valkey = sync_client()
    if int(valkey.xlen(USAGE)) > MOST_PENDING:
        return wanted
    entries: Any = valkey.xrange(USAGE, count=MOST_PENDING)
    return wanted & {msgspec.json.decode(fields[b"r"])["request_id"] for _, fields in entries if fields}


def _in_database(tenant: str, expired: list[Held]) -> dict[str, _Known]:
    if not expired:
        return {}
    epochs = {held.request_id: held.epoch for held in expired}
    with tenant_scope(UUID(tenant)):
        rows = UsageRecord.objects.filter(request_id__in=list(epochs))
        return {
            row.request_id: _Known(
                request_id=row.request_id,
                tenant_id=tenant,
                epoch=epochs[row.request_id],
                charge_nano=row.escrow_nano,  # what the hold paid; more may have come from the wallet
                tokens=row.prompt_tokens + row.completion_tokens,
                gpu_ns=row.gpu_prefill_ns + row.gpu_decode_ns,
            )
            for row in rows
        }


def _keep(tenant: str, alive: list[Held]) -> None:
    """Look again later at what is still under way; its slot is not renewed, for nobody waits for it any more."""
    items = [[held.request_id] for held in alive]
    release.scripts().call("extend", TenantKeys(tenant), [TTL_MS, items])


def _give_back(idle: list[str]) -> None:
    """Escrow of tenants that asked for none for a while goes back to where they see it as their balance."""
    scripts = release.scripts()
    for start in range(0, len(idle), TENANTS_AT_ONCE):
        part = idle[start : start + TENANTS_AT_ONCE]
        epoch = scripts.confirm()
        taken = scripts.calls([("take", TenantKeys(tenant), [IDLE_MS, epoch]) for tenant in part])
        for tenant, found in zip(part, taken, strict=True):
            for currency, nano in zip(found[::2], found[1::2], strict=True):
                # Should this fail the money stays set aside until the epoch is closed: late, never spent twice.
                treasury().give_back(
                    tenant_id=UUID(tenant), epoch=epoch, amount_nano=int(nano), currency=currency.decode()
                )
