"""How much of each limit is used, as admission counts it: buckets and slots from Valkey, months from there too.

A month's counter that no request has needed yet is summed from PostgreSQL, and not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from access.selectors import key_line
from core.valkey import sync_client
from inference.admission.keys import TenantKeys
from inference.admission.rules import MONTHS, RATES, Rule, bucket_field, model_ids
from inference.admission.seeds import Reach, month_sums, span
from models_registry.selectors import routes_for
from tenants.models import Limit, LimitKind
from tenants.selectors import limits

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class InUse:
    """One limit and its use, in the limit's own unit; GPU time in whole seconds, rounded up."""

    limit: Limit
    used: int
    remaining: int
    reset_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Reach:
    """Where a limit's counters are."""

    scope: str
    sums: Reach


def limits_in_use(*, tenant_id: UUID) -> list[InUse]:
    """The tenant's enabled limits, inside its scope. Two round trips to Valkey, and a query per counter that is cold.

    Raises RedisError.
    """
    rows: list[Limit] = list(limits().filter(tenant_id=tenant_id, is_enabled=True).order_by("kind", "id"))
    if not rows:
        return []
    names = model_ids({route.name: route for route in routes_for(tenant_id=tenant_id)})
    keys = TenantKeys(str(tenant_id))
    reaches = [_reach(row, names) for row in rows]
    now_us = _now()
    month = datetime.fromtimestamp(now_us / _MICRO, UTC).strftime("%Y%m")
    pipeline = sync_client().pipeline(transaction=False)
    for row, reach in zip(rows, reaches, strict=True):
        if row.kind in RATES:
            pipeline.hget(keys.rates, bucket_field(Rule(row.kind, row.value, reach.scope, "")))
        elif row.kind in MONTHS:
            pipeline.hget(keys.months, f"{month}|{reach.scope}")
        else:
            pipeline.zcount(keys.prefix + "live:" + reach.scope, f"({now_us // 1000}", "+inf")
    answers = pipeline.execute()
    return [
        _use(row, reach, answer, tenant_id, now_us, month)
        for row, reach, answer in zip(rows, reaches, answers, strict=True)
    ]


def _now() -> int:
    seconds, micros = sync_client().time()
    return int(seconds) * _MICRO + int(micros)


def _reach(row: Limit, names: dict[str, UUID]) -> _Reach:
    line = tuple(key_line(key=row.key)) if row.key is not None else ()
    model = names.get(row.model) if row.model else None
    scope = f"k{line[0].hex}" if line else ""
    if row.model:
        # A name that leads nowhere has no counters.
        scope += f"m{model.hex}" if model is not None else "m?"
    return _Reach(scope or "t", Reach(keys=line, model_id=model))


def _use(row: Limit, reach: _Reach, answer: Any, tenant_id: UUID, now_us: int, month: str) -> InUse:
    reset: datetime | None = None
    if row.kind in RATES:
        level = _level(answer, row, now_us)
        used = -int(-level // 1)
        if level > 0 and row.value:
            reset = datetime.fromtimestamp((now_us + level * RATES[row.kind][0] / row.value) / _MICRO, UTC)
    elif row.kind in MONTHS:
        used = _month_use(row, reach, answer, tenant_id, month)
        reset = span(month)[1]
    else:
        used = int(answer)
    return InUse(row, used, max(0, row.value - used), reset)


def _level(raw: bytes | None, row: Limit, now_us: int) -> float:
    if raw is None:
        return 0.0
    level, at = msgspec.msgpack.decode(raw)[:2]
    passed = max(0, now_us - at)
    return max(0.0, level - passed * row.value / RATES[row.kind][0])


def _month_use(row: Limit, reach: _Reach, raw: bytes | None, tenant_id: UUID, month: str) -> int:
    parts = raw.decode().split("|") if raw is not None else []
    if len(parts) == len(MONTHS):
        calls, tokens, gpu_us, nano = (int(part) for part in parts)
    elif reach.scope.endswith("m?"):
        return 0
    else:  # cold, or being seeded
        sums = month_sums(tenant_id=tenant_id, month=month, reach=reach.sums)
        calls, tokens, gpu_us, nano = sums.calls, sums.tokens, sums.gpu_us, sums.charge_nano
    return {
        LimitKind.MONTHLY_CALLS.value: calls,
        LimitKind.MONTHLY_TOKENS.value: tokens,
        LimitKind.MONTHLY_GPU_SECONDS.value: -(-gpu_us // _MICRO),
        LimitKind.MONTHLY_MONEY_NANO.value: nano,
    }[row.kind]
