"""Celery's side of an engine worker: `inference.serve` is one replica, from placement to end. Started with
`-I inference.worker.tasks`; no other process loads this."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any
from uuid import UUID

import structlog
import uvloop
from celery import shared_task
from celery.signals import worker_init, worker_shutting_down
from django.conf import settings

from core.threads import in_thread
from core.valkey import sync_client
from inference.queue.journal import process_journal
from inference.queue.keys import PLACEMENTS, DeploymentKeys
from inference.worker.engines.factory import create_engine
from inference.worker.node import Node
from inference.worker.port import Engine
from inference.worker.replica import Replica
from models_registry import artifacts
from models_registry.selectors import engine_spec, remote_credential

log = structlog.get_logger(__name__)

_replicas: dict[str, tuple[asyncio.AbstractEventLoop, Replica]] = {}
_node: Node | None = None
# How long a failed start keeps its deployment from being placed again: doubles with each failure, seconds.
BACKOFF_S = (2, 4, 8, 16, 32, 64, 128, 300)


@worker_init.connect
def _boot(**_: Any) -> None:
    """Report as a node, and import the engine while the rest of the platform starts."""
    global _node
    _node = Node()
    _node.start()
    process_journal().start()
    if os.environ.get("ATRIUM_PRELOAD_ENGINE") and "vllm" in _node._facts()["engines"]:
        threading.Thread(target=_preload, name="preload", daemon=True).start()


def _preload() -> None:
    from inference.worker.engines.vllm import startup

    startup.prepare_environment()
    startup.start_forkserver()
    startup.import_engine()


@worker_shutting_down.connect
def _shut_down(**_: Any) -> None:
    """Drain all replicas: requests at work end, nothing new is taken."""
    if _node is not None:
        _node.stop()
    for loop, replica in list(_replicas.values()):
        loop.call_soon_threadsafe(replica.stop)


@shared_task(name="inference.serve", acks_late=False)
def serve(*, deployment_id: str, replica_id: str) -> None:
    """Host one replica until it is told to stop. A placement that is no longer wanted ends at once."""
    valkey = sync_client()
    if not valkey.hexists(PLACEMENTS, replica_id):
        log.info("serve.not_wanted", replica=replica_id)
        return
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_host(deployment_id, replica_id))
        valkey.delete(DeploymentKeys(deployment_id).failures)
    except Exception as error:
        log.exception("serve.failed", replica=replica_id, deployment=deployment_id)
        _note_failure(deployment_id, error)
    finally:
        _replicas.pop(replica_id, None)
        valkey.hdel(PLACEMENTS, replica_id)


async def _host(deployment_id: str, replica_id: str) -> None:
    engine = await in_thread(_engine)(UUID(deployment_id))
    replica = Replica(
        replica_id=replica_id, node=settings.NODE_NAME, deployment_id=deployment_id, engine=engine
    )
    _replicas[replica_id] = (asyncio.get_running_loop(), replica)
    await replica.run()


def _engine(deployment_id: UUID) -> Engine:
    """The engine of a deployment, not started. Model files are checked against their manifest first."""
    spec = engine_spec(deployment_id=deployment_id)
    if spec.path:
        artifacts.verify_again(spec.path, spec.manifest)
    credential = remote_credential(deployment_id=deployment_id) if spec.engine == "openai" else ""
    return create_engine(spec, credential=credential)


def _note_failure(deployment_id: str, error: Exception) -> None:
    """Remember why, for the console, and until when not to try again."""
    keys = DeploymentKeys(deployment_id)
    valkey = sync_client()
    count = int(valkey.hincrby(keys.failures, "count", 1))
    wait_s = BACKOFF_S[min(count, len(BACKOFF_S)) - 1]
    seconds, _ = valkey.time()
    valkey.hset(
        keys.failures,
        mapping={"until_ms": (seconds + wait_s) * 1000, "message": f"{type(error).__name__}: {error}"[:1000]},
    )
