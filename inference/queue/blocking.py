"""The queue's blocking client: for the jobs worker, REST and the simulator; never for an event loop."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from inference.queue import calls, scripts
from inference.queue.calls import ANY_TOKENS, Pulled, TenantStatus, Usage
from inference.queue.keys import USAGE, DeploymentKeys
from inference.queue.wire import Ticket, UsageNote, encode_usage


class BlockingQueue:
    """One deployment's queue. `now_ms` of the methods stands in for Valkey's clock; 0 is that clock itself."""

    def __init__(self, client: redis.Redis, deployment: str) -> None:
        self.client = client
        self.keys = DeploymentKeys(deployment)
        self._enqueue = client.register_script(scripts.ENQUEUE)
        self._pull = client.register_script(scripts.PULL)
        self._charge = client.register_script(scripts.CHARGE)
        self._finish = client.register_script(scripts.FINISH)
        self._cancel = client.register_script(scripts.CANCEL)
        self._requeue = client.register_script(scripts.REQUEUE)
        self._status = client.register_script(scripts.STATUS)

    def enqueue(self, ticket: Ticket, limit: int, *, now_ms: int = 0) -> int:
        """As `RequestQueue.enqueue`."""
        arguments = calls.enqueue(self.keys, ticket, limit, now_ms=now_ms)
        return calls.enqueued(self._enqueue(self.keys.fair, arguments))

    def take(
        self,
        replica: str,
        number: str,
        *,
        room: int,
        express: int = 0,
        tokens: int = ANY_TOKENS,
        now_ms: int = 0,
    ) -> Pulled:
        """As `RequestQueue.take`."""
        arguments = calls.pull(
            self.keys, replica, number, room=room, express=express, tokens=tokens, now_ms=now_ms
        )
        return calls.pulled(self._pull(self.keys.fair, arguments))

    def charge(self, used: Mapping[str, Usage], *, now_ms: int = 0) -> None:
        """As `RequestQueue.charge`."""
        for arguments in calls.charge(self.keys, used, now_ms=now_ms):
            self._charge(self.keys.fair, arguments)

    def cancel(self, request_id: str, *, now_ms: int = 0) -> str | None:
        """As `RequestQueue.cancel`."""
        answer = self._cancel(self.keys.fair, calls.cancel(self.keys, request_id, now_ms=now_ms))
        return None if answer is None else answer.decode()

    def requeue(self, ticket: Ticket, lost_replica: str, *, now_ms: int = 0) -> bool:
        """As `RequestQueue.requeue`."""
        arguments = calls.requeue(self.keys, ticket, lost_replica, now_ms=now_ms)
        return bool(self._requeue(self.keys.fair, arguments))

    def account(self, note: UsageNote) -> None:
        """As `RequestQueue.account`, in two round trips."""
        self.client.xadd(USAGE, {"r": encode_usage(note)})
        self.finish(note)

    def finish(self, note: UsageNote, *, now_ms: int = 0) -> None:
        """Charge the rest and forget the request; its usage record is somebody else's."""
        self._finish(self.keys.fair, calls.finish(self.keys, note, now_ms=now_ms))

    def status(self, tenant: str, *, weight: float = 1.0, band: int = 0, now_ms: int = 0) -> TenantStatus:
        """As `RequestQueue.status`."""
        arguments = calls.status(self.keys, tenant, weight=weight, band=band, now_ms=now_ms)
        return calls.status_from(self._status(self.keys.fair, arguments))
