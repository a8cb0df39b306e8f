"""Hits on their way out of a web process: collected in a tick of the event loop, sent as one entry of the stream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from core.ids import new_id
from safety.services.hits import MAX_LENGTH, STREAM, Hit, counts_of, fields_of
from safety.spec import Verdict

log = structlog.get_logger(__name__)

RETRY_S = 0.5
# Different hits that wait while Valkey is away; each is counted, however often. Beyond this, new ones are lost.
MOST_WAITING = 50_000


class HitSink:
    """Belongs to one event loop. `note` costs a dictionary entry per verdict and never waits."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._waiting: Counter[Hit] = Counter()
        # What is on its way, under its id, until Valkey has it: sent again it is counted once.
        self._sending: tuple[UUID, Counter[Hit]] | None = None
        self._task: asyncio.Task[None] | None = None

    def note(self, tenant_id: UUID, verdicts: Iterable[Verdict]) -> None:
        """Count the verdicts of a request, or of a part of it."""
        counts = counts_of(tenant_id, verdicts)
        if not counts:
            return
        if len(self._waiting) < MOST_WAITING:
            self._waiting.update(counts)
        else:
            log.error("safety.hits_dropped", tenant_id=str(tenant_id))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def close(self, *, timeout_s: float = 2.0) -> None:
        """Send what waits; gives up after `timeout_s`."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout_s)
            if not self._task.done():
                self._task.cancel()
                log.error("safety.hits_lost", kinds=len(self._waiting))

    async def _send(self) -> None:
        while self._sending is not None or self._waiting:
            if self._sending is None:
                self._sending = (new_id(), self._waiting)
                self._waiting = Counter()
            batch, counts = self._sending
            entry: Any = fields_of(counts, batch)
            try:
                await self._client.xadd(STREAM, entry, maxlen=MAX_LENGTH, approximate=True)
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_S)
                continue
            self._sending = None
