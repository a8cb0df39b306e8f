"""A tenant's volumes of the month while a batch is settled: read once, moved by each request, written once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from billing.models import UsageCounter
from billing.rating import COMPONENTS, RateCard, Units
from core.ids import new_id

_TABLE = UsageCounter._meta.db_table
_COLUMNS = ", ".join(COMPONENTS)
_SAVE = f"""
INSERT INTO {_TABLE} (id, tenant_id, month, plan_id, model, {_COLUMNS})
SELECT r.id, %s::uuid, r.month, r.plan_id, r.model, {", ".join(f"r.{name}" for name in COMPONENTS)}
FROM jsonb_to_recordset(%s::jsonb)
  AS r(id uuid, month date, plan_id uuid, model text, {", ".join(f"{name} bigint" for name in COMPONENTS)})
ORDER BY r.month, r.plan_id, r.model
ON CONFLICT (tenant_id, month, plan_id, model) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in COMPONENTS)}
"""  # noqa: S608 - made of the constants above


class CounterKey(NamedTuple):
    """The first day of a month (ISO), a plan, and the model name that its price is for."""

    month: str
    plan_id: UUID
    model: str


class Counters:
    """The counters of one tenant. The settlement's lock must be held from `load` to `save`."""

    def __init__(self, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        self.units: dict[CounterKey, Units] = {}
        # What the volumes cost by the card that they were last moved by: most requests of a month share one.
        self.costs: dict[CounterKey, tuple[RateCard, int]] = {}
        self.moved: set[CounterKey] = set()

    def load(self, keys: Iterable[CounterKey]) -> None:
        """Read what is known of `keys`. One query, none for no keys."""
        wanted = set(keys)
        if not wanted:
            return
        rows = UsageCounter.objects.filter(
            month__in={key.month for key in wanted}, plan_id__in={key.plan_id for key in wanted}
        )
        for row in rows:
            self.units[CounterKey(row.month.isoformat(), row.plan_id, row.model)] = row.units

    def move(self, key: CounterKey, card: RateCard, before: Units, after: Units) -> int:
        """Count `after` in place of `before`; what that adds to the month's cost, in nano-units."""
        units = self.units.get(key, Units())
        known = self.costs.get(key)
        was = known[1] if known is not None and known[0] is card else card.cost(units)
        changed = units.minus(before).plus(after)
        cost = card.cost(changed)
        self.units[key] = changed
        self.costs[key] = (card, cost)
        self.moved.add(key)
        return cost - was

    def save(self) -> None:
        """Write what has moved. One statement, none when nothing has."""
        if not self.moved:
            return
        rows = [
            {"id": str(new_id()), "month": key.month, "plan_id": str(key.plan_id), "model": key.model}
            | self.units[key]._asdict()
            for key in sorted(self.moved)
        ]
        with connection.cursor() as cursor:
            cursor.execute(_SAVE, [self.tenant_id, json.dumps(rows)])
