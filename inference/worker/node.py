"""One node: the engine worker's process as the reconciler sees it. Reports by heartbeat which slots it has."""

from __future__ import annotations

import os
import secrets
import threading
from typing import Any

import msgspec
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from core.valkey import sync_client
from inference.queue import scripts
from inference.queue.keys import NODES

log = structlog.get_logger(__name__)

BEAT_S = 1.0


class Node:
    """Heartbeats of this process, from a thread of its own: engines may keep every other one busy."""

    def __init__(self) -> None:
        self.name = settings.NODE_NAME
        self.boot = secrets.token_hex(4)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, so that nothing is placed here any more."""
        self._stopping.set()
        try:
            sync_client().hdel(NODES, self.name)
        except RedisError:
            log.warning("node.goodbye_lost")

    def _run(self) -> None:
        beat = sync_client().register_script(scripts.BEAT)
        facts = self._facts()
        while not self._stopping.is_set():
            try:
                beat([NODES], [self.name, msgspec.json.encode(facts)[:-1] + b","])
            except (RedisError, OSError):
                log.warning("node.beat_missed")
            self._stopping.wait(BEAT_S)

    def _facts(self) -> dict[str, Any]:
        return {
            "boot": self.boot,
            "pid": os.getpid(),
            "slots": settings.NODE_SLOTS,
            "engines": available_engines(),
            "devices": _devices(),
            "pool": settings.NODE_POOL,
        }


def available_engines() -> list[str]:
    """Engine kinds that this machine can host, without importing any."""
    from importlib.util import find_spec

    kinds = ["openai"]
    if settings.ALLOW_SIMULATED_ENGINE:
        kinds.append("simulated")
    if os.environ.get("ENGINE") != "none" and find_spec("vllm") is not None:
        kinds.insert(0, "vllm")
    return kinds


def _devices() -> list[str]:
    """NVIDIA devices by their files; a machine without any serves on its processor."""
    return sorted(
        name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdigit()
    ) or ["cpu"]
