"""Watches over the requests in flight of one web process: dead replicas, lost frames, deadlines.

A replica is taken for dead when its heartbeat is older than `DEAD_MS` by Valkey's clock, and Valkey itself has
answered without a break for as long: after a restart of Valkey every heartbeat looks old for a moment.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from redis.exceptions import RedisError

from core import clock
from inference.gateway.errors import Rejected, unavailable
from inference.gateway.usage import note_of
from inference.queue.client import with_age

if TYPE_CHECKING:
    from inference.gateway.gateway import Gateway
    from inference.gateway.stream import Stream

log = structlog.get_logger(__name__)

TICK_S = 0.5
SILENT_S = 1.5  # without news for this long, a request is looked at
DEAD_MS = 3_500
# How long a request may wait for its first replica while none is there or all are busy.
QUEUE_TIMEOUT_S = 120.0


class Watcher:
    """The look-out of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._steady_since = clock.monotonic()

    async def run(self) -> None:
        """Look around twice a second, for as long as the gateway lives."""
        while True:
            await asyncio.sleep(TICK_S)
            now = clock.monotonic()
            silent: defaultdict[str, list[Stream]] = defaultdict(list)
            for stream in list(self._gateway.streams.values()):
                if stream.finished or not stream.queued:
                    continue
                is_silent = now - stream.last_news_at > SILENT_S
                if is_silent or stream.waiting_for_replica or stream.lost_at is not None:
                    self._deadlines(stream, now)
                if is_silent:
                    silent[stream.ticket.deployment].append(stream)
            for deployment, streams in silent.items():
                try:
                    await self._look(deployment, streams)
                except (RedisError, OSError):
                    self._steady_since = clock.monotonic()
                except Exception:
                    log.exception("watch.failed")

    def _deadlines(self, stream: Stream, now: float) -> None:
        if clock.epoch_ms() > stream.ticket.deadline_ms:
            stream.interrupt(_late(stream))
        elif stream.lost_at is not None:
            # A stream waits until there is something new to read: producing again what it has had takes time too.
            if now - stream.lost_at > settings.RESUME_TIMEOUT_S:
                stream.interrupt(
                    unavailable("The replica was lost and no other took over in time.", code="replica_lost")
                )
        elif stream.waiting_for_replica and now - stream.started_at > QUEUE_TIMEOUT_S:
            stream.interrupt(
                unavailable(
                    "No replica of this model became free in time.",
                    code="no_replica_available",
                    retry_after_s=10,
                )
            )

    async def _look(self, deployment: str, streams: list[Stream]) -> None:
        keys = self._gateway.queue.keys(deployment)
        ids = [stream.request_id for stream in streams]
        pipeline = self._gateway.client.pipeline(transaction=False)
        pipeline.hmget(keys.running, ids)
        pipeline.hmget(keys.requests, ids)
        pipeline.hgetall(keys.replicas)
        pipeline.time()
        running, known, replicas, (seconds, micros) = await pipeline.execute()
        now_ms = seconds * 1000 + micros // 1000
        alive = {
            name.decode() for name, beat in replicas.items() if with_age(beat, now_ms)["age_ms"] < DEAD_MS
        }
        steady = clock.monotonic() - self._steady_since > DEAD_MS / 1000 + 1.5
        for stream, replica, ticket in zip(streams, running, known, strict=True):
            if stream.finished:
                continue
            if replica is not None:
                if steady and replica.decode() not in alive:
                    await self.begin_again(stream, replica.decode())
            elif ticket is None and clock.monotonic() - stream.last_news_at > 2 * SILENT_S:
                # Accounted for by a replica, or gone with Valkey's memory: either way no more news will come.
                await self._forgotten(stream)

    async def begin_again(self, stream: Stream, lost: str) -> None:
        """Hand a request of a lost replica to another one, or end it with one clear error."""
        if stream.finished:
            return
        if not stream.can_begin_again():
            await self._give_up(stream, lost)
            return
        log.warning("watch.begin_again", request_id=stream.request_id, replica=lost)
        ticket = stream.begin_again()
        if not await self._gateway.queue.requeue(ticket, lost):
            await self._forgotten(stream)

    async def _give_up(self, stream: Stream, lost: str) -> None:
        error = unavailable("The replica that served this request was lost.", code="replica_lost")
        await self._gateway.account(note_of(stream, "failed", error.code))
        stream.interrupt(error)
        log.warning("watch.gave_up", request_id=stream.request_id, replica=lost)

    async def _forgotten(self, stream: Stream) -> None:
        error = unavailable("The end of the answer was lost. Send the request again.", code="answer_lost")
        await self._gateway.account(note_of(stream, "failed", error.code))
        stream.interrupt(error)


def _late(stream: Stream) -> Rejected:
    if stream.waiting_for_replica and stream.ticket.attempt == 0:
        code, message = "deadline_exceeded", "The request's deadline passed while it waited for its turn."
    else:
        code, message = "timeout", "The request took longer than its deadline allows."
    return Rejected(504, code, message, kind="server_error")
