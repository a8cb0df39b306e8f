"""What settled requests held goes back: the rest of the hold to the escrow, the rest of the tokens to the limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from core.valkey import sync_client
from inference.admission.keys import TenantKeys
from inference.admission.loader import Call, SyncScripts

BATCH = 25  # requests per round trip: Valkey does nothing else meanwhile, some 40 µs for each
SETTLED, NEVER_RAN, GIVEN_UP = range(3)


class Settled(Protocol):
    """A request whose usage record PostgreSQL has, with what was charged for it."""

    @property
    def request_id(self) -> str:
        """As the ticket's."""

    @property
    def tenant_id(self) -> UUID | str:
        """Whose it was."""

    @property
    def epoch(self) -> str:
        """Of the escrow that the hold was taken from."""

    @property
    def charge_nano(self) -> int:
        """At most the hold."""

    @property
    def tokens(self) -> int:
        """Prompt and answer."""

    @property
    def gpu_ns(self) -> int:
        """Engine time."""


@lru_cache(maxsize=1)
def scripts() -> SyncScripts:
    """The scripts of this process's services and tasks."""
    return SyncScripts(sync_client())


def release(batch: Iterable[Settled]) -> int:
    """Tell Valkey what became of requests; returns how many it still held something for.

    Idempotent by request id, so that a batch may be told again after a crash; call it after the transaction that
    settled has committed. One round trip per BATCH requests. Raises RedisError: the sweep then finds what was not told.
    """
    by_tenant: defaultdict[str, list[list[Any]]] = defaultdict(list)
    for each in batch:
        by_tenant[str(each.tenant_id)].append(
            [
                each.request_id,
                each.epoch,
                each.charge_nano,
                each.tokens,
                -(-each.gpu_ns // 1000),
                SETTLED,
            ]
        )
    trips: list[list[Call]] = [[]]
    room = BATCH
    for tenant, items in by_tenant.items():
        while items:
            trips[-1].append(("release", TenantKeys(tenant), items[:room]))
            room, items = room - len(items[:room]), items[room:]
            if not room:
                room = BATCH
                trips.append([])
    return sum(int(answer) for calls in trips if calls for answer in scripts().calls(calls))
