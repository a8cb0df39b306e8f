"""What runs, as heartbeats tell it: nodes, replicas, and how each deployment is doing. For operators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from core.valkey import sync_client
from inference.queue.client import with_age
from inference.queue.keys import NODES, PLACEMENTS, DeploymentKeys
from inference.services.reconciler import NODE_ALIVE_MS, REPLICA_ALIVE_MS


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
