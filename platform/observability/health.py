"""`/healthz`, `/readyz`, `/startupz`: answered before Django's middleware and ALLOWED_HOSTS, which a probe
knows nothing of.

Liveness looks at this process only: a database that is down must not make an orchestrator kill every web
process. Readiness asks the database and Valkey; its answer is shared by all who ask within a second, so
that probing is no way to load them. Bodies name the checks, never their errors: those are in the log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor

from core import clock
from core.checks import walls_stand
from core.valkey import sync_client

log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATHS = ("/healthz", "/readyz", "/startupz")
FRESH_S = 1.0  # how long one readiness result answers for
TIMEOUT_S = 4.0  # a check that takes longer counts as failed

_draining = False


def start_draining() -> None:
    """Answer `/readyz` with 503 from now on: no new traffic, please; what runs goes on. Called at SIGTERM."""
    global _draining
    _draining = True


def is_draining() -> bool:
    """True once this process has been told to stop."""
    return _draining


class Readiness:
    """What readiness asks, and what it need not ask again: walls and migrations do not change under a
    process.
    """

    def __init__(self) -> None:
        self.once: set[str] = set()
        self.started = False  # was ready at least once

    def check(self) -> dict[str, bool]:
        """Ask everything, in this thread. Never raises."""
        results = {
            "database": self._passed("database", _database_answers),
            "valkey": self._passed("valkey", _valkey_answers),
        }
        for name, ask in (("migrations", migrations_are_applied), ("walls", walls_are_up)):
            if name not in self.once and results["database"] and self._passed(name, ask):
                self.once.add(name)
            results[name] = name in self.once
        self.started = self.started or all(results.values())
        return results

    def _passed(self, name: str, ask: Callable[[], bool]) -> bool:
        try:
            passed = ask()
        except Exception:  # whatever it is, this process is not ready
            log.warning("health.check_failed", check=name, exc_info=True)
            return False
        finally:
            # Back to the pool: this thread serves no request that would do it.
            connections[DEFAULT_DB_ALIAS].close()
        if not passed:
            log.warning("health.check_failed", check=name)
        return passed


def _database_answers() -> bool:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


def _valkey_answers() -> bool:
    return bool(sync_client().ping())


def migrations_are_applied() -> bool:
    """True when the database has every migration that this code brings."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def walls_are_up() -> bool:
    """True when every walled table has forced row-level security and the connecting role is bound by it."""
    return not list(walls_stand(databases=[DEFAULT_DB_ALIAS]))


class HealthApplication:
    """The ASGI application behind the three paths. One per process."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        # A thread of its own: a probe must not wait behind requests, nor a hanging database fill their
        # threads.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="readiness")
        self._asking: asyncio.Future[dict[str, bool]] | None = None
        self._answered: dict[str, bool] | None = None
        self._answered_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one probe."""
        if scope["type"] != "http":
            return
        path = scope["path"].rstrip("/")
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, {"status": "method not allowed"})
        elif path == "/healthz":
            await _answer(send, 200, {"status": "ok"})
        elif path == "/startupz":
            started = self.readiness.started or all((await self._results()).values())
            await _answer(send, 200 if started else 503, {"status": "ok" if started else "starting"})
        elif path == "/readyz":
            results = {**await self._results(), "not_draining": not _draining}
            ready = all(results.values())
            await _answer(
                send,
                200 if ready else 503,
                {
                    "status": "ok" if ready else "unavailable",
                    "checks": {name: "ok" if passed else "failed" for name, passed in results.items()},
                },
            )
        else:
            await _answer(send, 404, {"status": "not found"})

    async def _results(self) -> dict[str, bool]:
        if self._answered is not None and clock.monotonic() - self._answered_at < FRESH_S:
            return self._answered
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(self._thread, self.readiness.check)
        try:
            # Shielded: the first to give up must not take the answer from the others.
            results = await asyncio.wait_for(asyncio.shield(self._asking), TIMEOUT_S)
        except TimeoutError:
            log.warning("health.check_failed", check="timeout")
            return {"database": False, "valkey": False}
        self._answered, self._answered_at = results, clock.monotonic()
        return results


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    payload = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(payload)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})
