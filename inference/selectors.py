"""What runs, as heartbeats tell it: nodes, replicas, how each deployment is doing, and a tenant's place in queues."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings

from core.valkey import sync_client
from inference.admission.rules import PlanTerms
from inference.queue import calls, scripts
from inference.queue.client import with_age
from inference.queue.keys import NODES, PLACEMENTS, DeploymentKeys
from inference.services.reconciler import NODE_ALIVE_MS, REPLICA_ALIVE_MS
from models_registry import selectors as registry
from tenants.selectors import tenant_by_id


def _beats(key: str) -> dict[str, dict[str, Any]]:
    pipeline = sync_client().pipeline(transaction=False)
    pipeline.hgetall(key)
    pipeline.time()
    found, (seconds, micros) = pipeline.execute()
    now_ms = seconds * 1000 + micros // 1000
    return {name.decode(): with_age(value, now_ms) for name, value in found.items()}


def nodes() -> list[dict[str, Any]]:
    """Nodes by name: alive, slots and how many are taken, engines that they can host, devices."""
    taken: dict[str, int] = {}
    for placement in _beats(PLACEMENTS).values():
        taken[placement["node"]] = taken.get(placement["node"], 0) + placement["slots"]
    return [
        {
            "name": name,
            "alive": beat["age_ms"] < NODE_ALIVE_MS,
            "last_seen_ms": beat["age_ms"],
            "slots": beat.get("slots", 0),
            "slots_used": taken.get(name, 0),
            "engines": beat.get("engines", []),
            "devices": beat.get("devices", []),
            "pool": beat.get("pool", "default"),
        }
        for name, beat in sorted(_beats(NODES).items())
    ]


def deployment_status(deployment_id: UUID) -> dict[str, Any]:
    """Replicas of one deployment with their state, load and the engine's own counters; what waits; the last failure."""
    keys = DeploymentKeys(str(deployment_id))
    replicas = [
        {
            "id": name,
            "node": beat.get("node"),
            "state": beat.get("state"),
            "capacity": beat.get("capacity"),
            "in_flight": beat.get("in_flight", 0),
            "counters": beat.get("counters", {}),
            "last_seen_ms": beat["age_ms"],
        }
        for name, beat in sorted(_beats(keys.replicas).items())
        if beat["age_ms"] < REPLICA_ALIVE_MS
    ]
    pipeline = sync_client().pipeline(transaction=False)
    pipeline.hlen(keys.requests)
    pipeline.hlen(keys.running)
    pipeline.hgetall(keys.failures)
    unfinished, running, failure = pipeline.execute()
    return {
        "replicas": replicas,
        "ready": sum(replica["state"] == "ready" for replica in replicas),
        "waiting": max(0, unfinished - running),
        "running": running,
        "last_failure": failure.get(b"message", b"").decode() if failure else "",
    }


def queues(*, tenant_id: UUID) -> list[dict[str, Any]]:
    """The tenant's own place in the queue of each running deployment in sight, by name.

    Two round trips to Valkey for all of them. SECURITY: of other tenants only sums are in what a share, a turn and an
    expected wait say.
    """
    rows = [row for row in registry.deployments() if row.running]
    plan = PlanTerms.of(tenant_by_id(tenant_id=tenant_id).plan)
    limit = settings.QUEUE_LIMIT_PER_TENANT if plan.queue_limit is None else plan.queue_limit
    valkey = sync_client()
    script = valkey.register_script(scripts.STATUS)
    pipeline = valkey.pipeline(transaction=False)
    for row in rows:
        keys = DeploymentKeys(str(row.pk))
        script(
            keys.fair, calls.status(keys, str(tenant_id), weight=plan.weight, band=plan.band), client=pipeline
        )
    found = [calls.status_from(answer) for answer in pipeline.execute()] if rows else []
    return [
        {
            "deployment_id": row.pk,
            "name": row.name,
            "model_name": row.version.model.qualified_name,
            "waiting": status.waiting,
            "running": status.running,
            "turn": status.turn,
            "share": status.share,
            "first_wait_ms": status.first_wait_ms,
            "expected_wait_ms": status.new_wait_ms,
            "limit": limit,
        }
        for row, status in zip(rows, found, strict=True)
    ]
