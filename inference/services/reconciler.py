"""The reconciler: brings what is deployed and what runs together, one small step a second.

Desired state is in PostgreSQL (`Deployment`), actual state in the heartbeats of nodes and replicas. Single by an
advisory lock; safe to run at any moment, twice, or not at all for a while.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from django.db import connection

from core.dispatch import enqueue
from core.scoping import platform_scope
from core.valkey import sync_client
from inference.queue.client import with_age
from inference.queue.keys import NODES, PLACEMENTS, DeploymentKeys
from models_registry.models import Deployment

log = structlog.get_logger(__name__)

LOCK = 0x41747269  # "Atri": the advisory lock of the one reconciler
NODE_ALIVE_MS = 5_000
REPLICA_ALIVE_MS = 5_000
# A replica that was ordered and has not reported after this long never started.
START_MS = 30_000
FORGET_MS = 60_000


@dataclass(slots=True)
class _Placement:
    replica: str
    deployment: str
    node: str
    boot: str
    slots: int
    age_ms: int


class _World:
    """What is, as of one reading of Valkey."""

    def __init__(self) -> None:
        self.valkey = sync_client()
        seconds, micros = self.valkey.time()
        self.now_ms = seconds * 1000 + micros // 1000
        self.nodes = {
            name: node for name, node in self._hash(NODES).items() if node["age_ms"] < NODE_ALIVE_MS
        }
        self.placements = [
            _Placement(name, p["deployment"], p["node"], p["boot"], p["slots"], p["age_ms"])
            for name, p in self._hash(PLACEMENTS).items()
        ]

    def _hash(self, key: str) -> dict[str, dict[str, Any]]:
        found: dict[bytes, bytes] = self.valkey.hgetall(key)  # type: ignore[assignment]
        return {name.decode(): with_age(value, self.now_ms) for name, value in found.items()}

    def replicas(self, deployment: str) -> dict[str, dict[str, Any]]:
        """Heartbeats of a deployment's replicas that are alive; old ones are cleared away."""
        key = DeploymentKeys(deployment).replicas
        alive = {}
        for name, beat in self._hash(key).items():
            if beat["age_ms"] < REPLICA_ALIVE_MS:
                alive[name] = beat
            elif beat["age_ms"] > FORGET_MS:
                self.valkey.hdel(key, name)
        return alive

    def backing_off(self, deployment: str) -> bool:
        """Whether the last start failed so recently that the next must wait."""
        until = self.valkey.hget(DeploymentKeys(deployment).failures, "until_ms")
        return until is not None and int(until) > self.now_ms

    def free_node(self, engine: str, slots: int, pool: str) -> str | None:
        """The node with most free slots that can host the engine."""
        used: defaultdict[str, int] = defaultdict(int)
        for placement in self.placements:
            used[placement.node] += placement.slots
        candidates = [
            (node["slots"] - used[name], name)
            for name, node in self.nodes.items()
            if engine in node["engines"] and node.get("pool", "default") == pool
        ]
        free, name = max(candidates, default=(0, ""))
        return name if name and free >= slots else None


def reconcile() -> None:
    """One step. Does nothing when another reconciler is at work."""
    with platform_scope("the reconciler reads deployments"), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return
        world = _World()
        wanted = {
            str(deployment.pk): deployment for deployment in Deployment.objects.serving().without_secrets()
        }
        for identifier in wanted.keys() | {placement.deployment for placement in world.placements}:
            _reconcile_deployment(world, identifier, wanted.get(identifier))


def _reconcile_deployment(world: _World, identifier: str, deployment: Deployment | None) -> None:
    beats = world.replicas(identifier)
    live = []
    for placement in [p for p in world.placements if p.deployment == identifier]:
        node = world.nodes.get(placement.node)
        restarted = node is not None and node["boot"] != placement.boot
        starting = placement.age_ms < START_MS and node is not None
        if restarted or (placement.replica not in beats and not starting):
            log.warning("reconciler.replica_lost", replica=placement.replica, deployment=identifier)
            world.valkey.hdel(PLACEMENTS, placement.replica)
            world.valkey.hdel(DeploymentKeys(identifier).replicas, placement.replica)
            world.placements.remove(placement)
        elif beats.get(placement.replica, {}).get("state") != "draining":
            live.append(placement)
    desired = deployment.desired_replicas if deployment is not None else 0
    for placement in live[desired:]:
        _stop(world, placement)
    if deployment is not None and len(live) < desired and not world.backing_off(identifier):
        for _ in range(desired - len(live)):
            _place(world, deployment)


def slots_of(deployment: Deployment) -> int:
    """Slots that one replica takes: GPUs for vLLM, none for engines that compute elsewhere or not at all."""
    if deployment.engine != "vllm":
        return 0
    arguments = deployment.engine_args
    return int(arguments.get("tensor_parallel_size", 1)) * int(arguments.get("pipeline_parallel_size", 1))


def _place(world: _World, deployment: Deployment) -> None:
    slots = slots_of(deployment)
    node = world.free_node(deployment.engine, slots, deployment.pool)
    if node is None:
        return
    replica = f"rep-{secrets.token_hex(6)}"
    facts = {
        "deployment": str(deployment.pk),
        "node": node,
        "boot": world.nodes[node]["boot"],
        "slots": slots,
        "at_ms": world.now_ms,
    }
    world.valkey.hset(PLACEMENTS, replica, msgspec.json.encode(facts))
    world.placements.append(_Placement(replica, str(deployment.pk), node, facts["boot"], slots, 0))
    enqueue(
        "inference.serve",
        queue=f"engine.{node}",
        expires_s=START_MS / 1000,
        deployment_id=str(deployment.pk),
        replica_id=replica,
    )
    log.info("reconciler.placed", replica=replica, deployment=str(deployment.pk), node=node)


def _stop(world: _World, placement: _Placement) -> None:
    control = DeploymentKeys(placement.deployment).control(placement.replica)
    world.valkey.xadd(control, {"stop": placement.replica}, maxlen=10_000)
    world.valkey.expire(control, 3600)
    log.info("reconciler.stopped", replica=placement.replica, deployment=placement.deployment)
