"""A month's counters after Valkey's memory was lost, or when a limit is new: seeded once, from PostgreSQL.

What PostgreSQL has and what is in flight must be told apart. `scripts.SEED` counts in what is in flight and names it;
PostgreSQL's sum leaves these requests out; `scripts.SEEDED` adds it. After a restart web processes first get
`GRACE_MS` to bring back their requests in flight, and usage records that PostgreSQL does not have yet count as in
flight too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Sum
from django.db.models.functions import Coalesce

from billing.models import Outcome, UsageRecord
from core.ids import new_id
from core.scoping import tenant_scope
from core.threads import in_thread
from core.valkey_link import LinkedClient
from inference.admission.keys import TenantKeys
from inference.admission.loader import AsyncScripts
from inference.admission.rules import ALL, Policy
from inference.queue.keys import USAGE
from models_registry.models import ModelVersion
from models_registry.selectors import Route

GRACE_MS = 3_000
BUSY_S = 0.02
MOST_PENDING = 50_000


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose usage a scope counts: of which keys (empty: all), of which model (none: all)."""

    keys: tuple[UUID, ...] = ()
    model_id: UUID | None = None

    @classmethod
    def of(cls, scope: str, policy: Policy, model_id: UUID) -> Reach:
        """Out of a scope's name, for a caller who is in it."""
        return cls(
            keys=policy.keys if scope.startswith("k") else (),
            model_id=model_id if "m" in scope else None,  # ids are hexadecimal: no m in them
        )


@dataclass(frozen=True, slots=True)
class MonthSums:
    """What PostgreSQL has of one month: calls, tokens, GPU microseconds (rounded up), nano."""

    calls: int = 0
    tokens: int = 0
    gpu_us: int = 0
    charge_nano: int = 0


def month_sums(*, tenant_id: UUID, month: str, reach: Reach, without: Sequence[str] = ()) -> MonthSums:
    """Sums of a month (yyyymm, UTC, by the start of requests) but for the requests `without`.

    Enters the tenant's scope itself. One query over the month's records of the tenant: rare, and never on a warm path.
    """
    begin, end = span(month)
    with tenant_scope(tenant_id):
        rows = UsageRecord.objects.filter(started_at__gte=begin, started_at__lt=end).exclude(
            outcome=Outcome.REFUSED
        )
        if reach.keys:
            rows = rows.filter(key_id__in=reach.keys)
        if reach.model_id is not None:
            rows = rows.filter(
                version_id__in=list(
                    ModelVersion.objects.filter(model_id=reach.model_id).values_list("pk", flat=True)
                )
            )
        if without:
            rows = rows.exclude(request_id__in=list(without))
        found = rows.aggregate(
            calls=Coalesce(Sum(1), 0),
            # Sums of numbers, not of sums: those of absurd records would overflow.
            tokens=Coalesce(Sum("prompt_tokens"), 0) + Coalesce(Sum("completion_tokens"), 0),
            gpu_ns=Coalesce(Sum("gpu_prefill_ns"), 0) + Coalesce(Sum("gpu_decode_ns"), 0),
            charge_nano=Coalesce(Sum("charge_nano"), 0),
        )
    return MonthSums(
        calls=int(found["calls"]),
        tokens=int(found["tokens"]),
        gpu_us=-(-int(found["gpu_ns"]) // 1000),
        charge_nano=int(found["charge_nano"]),
    )


def span(month: str) -> tuple[datetime, datetime]:
    """The first moment of a month (yyyymm) and of the next."""
    year, number = int(month[:4]), int(month[4:])
    return datetime(year, number, 1, tzinfo=UTC), datetime(
        year + number // 12, number % 12 + 1, 1, tzinfo=UTC
    )


_month_sums_in_thread = in_thread(month_sums)


class Seeds:
    """Seeds the counters that the requests of one process need; each once, however many wait."""

    def __init__(self, scripts: AsyncScripts, client: LinkedClient, *, ttl_ms: int) -> None:
        self._scripts = scripts
        self._client = client
        self._ttl_ms = ttl_ms
        self._running: dict[tuple[UUID, str, str], asyncio.Task[None]] = {}

    async def seed(
        self,
        *,
        tenant_id: UUID,
        policy: Policy,
        model_id: UUID,
        routes: dict[UUID, Route],
        month: str,
        scope: str,
    ) -> None:
        """See that a counter is there soon; the caller then asks again. Raises DatabaseError, RedisError."""
        key = (tenant_id, month, scope)
        task = self._running.get(key)
        if task is None:
            reach = Reach.of(scope, policy, model_id)
            task = self._running[key] = asyncio.create_task(
                self._seed(tenant_id, policy, reach, routes, month, scope)
            )
            task.add_done_callback(lambda _: self._running.pop(key, None))
        await asyncio.shield(task)

    async def _seed(
        self,
        tenant_id: UUID,
        policy: Policy,
        reach: Reach,
        routes: dict[UUID, Route],
        month: str,
        scope: str,
    ) -> None:
        age = await self._scripts.age_ms()
        if age < GRACE_MS:
            await asyncio.sleep((GRACE_MS - age) / 1000)
        keys, token = TenantKeys(str(tenant_id)), new_id().hex
        pending = await self._pending(tenant_id, policy, routes, month)
        answer = await self._scripts.call("seed", keys, [month, scope, token, self._ttl_ms, pending])
        if not answer[0]:
            await asyncio.sleep(BUSY_S)
            return
        in_flight = [request_id.decode() for request_id in answer[1:]]
        sums = await _month_sums_in_thread(tenant_id=tenant_id, month=month, reach=reach, without=in_flight)
        await self._scripts.call(
            "seeded", keys, [month, scope, token, sums.calls, sums.tokens, sums.gpu_us, sums.charge_nano]
        )

    async def _pending(
        self, tenant_id: UUID, policy: Policy, routes: dict[UUID, Route], month: str
    ) -> list[list[Any]]:
        """Usage records of an earlier memory that PostgreSQL does not have yet, as requests in flight."""
        found: list[list[Any]] = []
        entries: Any = await self._client.xrange(USAGE, count=MOST_PENDING)
        for _, fields in entries:
            note = msgspec.json.decode(fields[b"r"])
            if note.get("tenant_id") != str(tenant_id) or note.get("outcome") == Outcome.REFUSED:
                continue
            if note.get("epoch") == self._scripts.epoch:
                continue
            started = datetime.fromtimestamp(note["started_ms"] / 1000, UTC)
            if started.strftime("%Y%m") != month:
                continue
            scopes = _scopes_of(note, policy, routes)
            tokens = note["prompt_tokens"] + note["completion_tokens"]
            record = [
                note.get("epoch", ""),
                note.get("hold_nano", 0),
                tokens,
                scopes,
                [],
                [],
                note["deployment_id"],
            ]
            found.append([note["request_id"], month, record])
        return found


def _scopes_of(note: dict[str, Any], policy: Policy, routes: dict[UUID, Route]) -> list[str]:
    """The scopes of a request out of its usage record, as far as the caller in hand can tell."""
    version = note.get("version_id")
    route = routes.get(UUID(version)) if version else None
    key = note.get("key_id")
    name = ""
    if key:
        name = policy.key if UUID(key) in policy.keys else UUID(key).hex
    scopes = [ALL]
    if route is not None:
        scopes.append(f"m{route.model_id.hex}")
    if name:
        scopes.append(f"k{name}")
        if route is not None:
            scopes.append(f"k{name}m{route.model_id.hex}")
    return scopes
