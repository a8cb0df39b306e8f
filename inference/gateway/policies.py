"""The web process's memory of callers: filled from PostgreSQL once, dropped within a second when something changes.

Every change in the control plane announces itself on one stream (`core.events`). A reader that lost its place, or
could not read for a while, drops everything; what no event touched ages out after `POLICY_CACHE_S`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error as DatabaseError

from access.secrets import digest, looks_right
from core import clock
from inference.gateway.callers import Caller, load_for_key_async, load_for_member_async
from inference.gateway.errors import invalid_key, unavailable

log = structlog.get_logger(__name__)

CAPACITY = 50_000
# A key that does not exist is remembered this long, so that guessing costs the guesser and not the database.
UNKNOWN_S = 5.0


@dataclass(slots=True)
class _Entry:
    caller: Caller | None
    loaded_at: float


class PolicyCache:
    """Callers by credential. One load at a time per credential, however many requests wait for it."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._loading: dict[Hashable, asyncio.Task[Caller | None]] = {}
        self._generation = 0

    async def for_key(self, secret: str) -> Caller:
        """The caller behind an API key. Raises Rejected(401) when there is none."""
        if not looks_right(secret):
            raise invalid_key()
        return await self.for_digest(digest(secret))

    async def for_digest(self, key_digest: str) -> Caller:
        """As `for_key`, for a key that has been seen before."""
        caller = await self._get(key_digest, lambda: load_for_key_async(key_digest))
        if caller is None:
            raise invalid_key()
        return caller

    async def for_member(self, user_id: UUID, tenant_id: UUID) -> Caller:
        """The caller that a member is. Raises Rejected(401) when the person is not one."""
        caller = await self._get((user_id, tenant_id), lambda: load_for_member_async(user_id, tenant_id))
        if caller is None:
            raise invalid_key()
        return caller

    async def again(self, caller: Caller) -> Caller:
        """The same caller as it is now. Raises Rejected when it is gone."""
        if caller.digest:
            return await self.for_digest(caller.digest)
        if caller.user_id is None:
            raise invalid_key()
        return await self.for_member(caller.user_id, caller.tenant_id)

    def forget(self, tenant_id: UUID | None) -> None:
        """Drop what is known of one tenant, or of all."""
        self._generation += 1
        self._loading.clear()
        if tenant_id is None:
            self._entries.clear()
            return
        for key in [
            key
            for key, entry in self._entries.items()
            if entry.caller is None or entry.caller.tenant_id == tenant_id
        ]:
            del self._entries[key]

    async def _get(self, key: Hashable, load: Callable[[], Awaitable[Caller | None]]) -> Caller | None:
        entry = self._entries.get(key)
        if entry is not None:
            age = clock.monotonic() - entry.loaded_at
            if age < (settings.POLICY_CACHE_S if entry.caller is not None else UNKNOWN_S):
                return entry.caller
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key, load, self._generation))
        return await asyncio.shield(task)

    async def _load(
        self, key: Hashable, load: Callable[[], Awaitable[Caller | None]], generation: int
    ) -> Caller | None:
        try:
            caller = await load()
        except DatabaseError as error:
            log.exception("policies.load_failed")
            raise unavailable("Keys cannot be checked at the moment. Try again shortly.") from error
        finally:
            if self._loading.get(key) is asyncio.current_task():
                del self._loading[key]
        # What was loaded before an event came in may be old already: use it for this request, do not keep it.
        if generation == self._generation:
            self._entries[key] = _Entry(caller, clock.monotonic())
            while len(self._entries) > CAPACITY:
                self._entries.popitem(last=False)
        return caller
