"""The cold path to money: when a tenant's escrow in Valkey runs short, PostgreSQL is asked to set more aside.

One at a time per tenant and process, however many requests wait: those for whom enough came meanwhile try again at
once, and those that waited while PostgreSQL said no for less than they need are refused with it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from core import clock
from core.threads import in_thread
from inference.admission.keys import TenantKeys
from inference.admission.loader import AsyncScripts
from inference.admission.port import Grant, treasury

log = structlog.get_logger(__name__)


def _grant(tenant_id: UUID, epoch: str, need_nano: int) -> Grant | None:
    return treasury().grant(tenant_id=tenant_id, epoch=epoch, need_nano=need_nano)


_grant_in_thread = in_thread(_grant)


@dataclass(slots=True)
class _Desk:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    credited_at: float = 0.0
    spare_nano: int = 0  # of what came last, beyond what was needed by those who have taken from it
    refused_at: float = 0.0
    refused_nano: int = 0
    waiting: int = 0


class Escrow:
    """Fetches escrow for the tenants of one process."""

    def __init__(self, scripts: AsyncScripts) -> None:
        self._scripts = scripts
        self._desks: dict[str, _Desk] = {}

    async def fetch(self, tenant_id: UUID, *, currency: str, need_nano: int, since: float) -> bool:
        """True when escrow has come since the monotonic moment `since`, so that admission is worth another try.

        False when the tenant cannot cover `need_nano` in `currency`, or pays in another by now.
        Cost: one thread and one row update in PostgreSQL at most.
        Raises DatabaseError, RedisError.
        """
        name = f"{tenant_id} {currency}"
        desk = self._desks.setdefault(name, _Desk())
        desk.waiting += 1
        try:
            async with desk.lock:
                if desk.credited_at >= since and desk.spare_nano >= need_nano:
                    desk.spare_nano -= need_nano
                    return True
                if desk.refused_at >= since and desk.refused_nano <= need_nano:
                    return False
                return await self._ask(desk, tenant_id, currency, need_nano)
        finally:
            desk.waiting -= 1
            if not desk.waiting:
                del self._desks[name]

    async def _ask(self, desk: _Desk, tenant_id: UUID, currency: str, need_nano: int) -> bool:
        epoch = self._scripts.epoch
        grant = await _grant_in_thread(tenant_id, epoch, need_nano)
        if grant is None:
            desk.refused_at, desk.refused_nano = clock.monotonic(), need_nano
            return False
        # A grant that is not credited stays set aside in PostgreSQL: money is late then, never spent twice.
        counted = await self._scripts.call(
            "credit", TenantKeys(str(tenant_id)), [grant.id, epoch, grant.amount_nano, grant.currency]
        )
        if not counted:
            log.warning("admission.grant_of_lost_memory", tenant_id=str(tenant_id), grant=grant.id)
        if grant.currency != currency:
            # The price plan has just changed: what came serves the requests that know the new one.
            desk.refused_at, desk.refused_nano = clock.monotonic(), need_nano
            return False
        desk.credited_at, desk.spare_nano = clock.monotonic(), max(0, grant.amount_nano - need_nano)
        return True
