"""The catalogue of data: where tenants' data lives, what it is for, how long it stays, how it leaves.

Each application registers its classes of data when it starts (`apps.py`). Whoever exports, erases or applies retention
walks through the catalogue, so what is not in it would be forgotten: tests compare it with all models and with all
names of Valkey keys in the code. Knows no business nouns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.apps import apps
from django.db import connection, models, transaction
from django.utils.functional import Promise

from core.scoping import platform_scope

BATCH = 5_000
Text = str | Promise
# How much went, by store: a table, a kind of key, a folder.
Counts = dict[str, int]


@dataclass(slots=True)
class Removed:
    """What one step of retention removed (or would remove), as evidence: how many, of which span, and a digest.

    `digest` is the XOR of a hash of each row's id: the same whatever the order, and for no other rows.
    """

    store: str
    count: int = 0
    begin: datetime | None = None
    end: datetime | None = None
    digest: int = 0
    tenant_id: UUID | None = None
    how: str = "rows"  # rows, partition, files, keys

    def add(self, count: int, begin: datetime | None, end: datetime | None, digest: int) -> None:
        """One batch more."""
        self.count += count
        self.digest ^= digest
        if begin is not None:
            self.begin = begin if self.begin is None else min(self.begin, begin)
        if end is not None:
            self.end = end if self.end is None else max(self.end, end)


class Retention(Protocol):
    """Removes what is too old, tenant by tenant, in bounded memory; with `dry_run` only counts."""

    def __call__(self, *, dry_run: bool) -> Iterator[Removed]: ...


@dataclass(frozen=True)
class DataClass:
    """One class of data. `models` are labels such as "inference.CallLog"; `keys` Valkey names with `*` for what varies;
    `files` what it is called on disk.

    On closing a tenant its rows are deleted, unless `kept` says why they stay; `erase` does what rows alone do not
    (it runs before them), and with `kept` is what happens instead. `erase_last` takes rows away by itself, once
    everything else has gone. `exported` false: secrets and plumbing.
    """

    name: str
    title: Text
    holds: Text
    retained: Text  # how long, in words
    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    kept: Text = ""
    exported: bool = True
    secret_fields: frozenset[str] = frozenset()  # of its models; never exported
    erase: Callable[[UUID], Counts] | None = None
    erase_last: Callable[[UUID], Counts] | None = None
    erase_end_user: Callable[[UUID, str], Counts] | None = None
    retain: Retention | None = None
    # Files of the export beside the models' rows: name and contents, piece by piece.
    export: Callable[[UUID], Iterator[tuple[str, Iterator[bytes]]]] | None = field(default=None)


_catalogue: dict[str, DataClass] = {}


def register(*classes: DataClass) -> None:
    """Add classes to the catalogue. Raises ValueError for a name that is taken by another."""
    for each in classes:
        if each.name in _catalogue and _catalogue[each.name] != each:
            raise ValueError(f"there is a class of data called {each.name} already")
        _catalogue[each.name] = each


def catalogue() -> Mapping[str, DataClass]:
    """All classes, by name."""
    return dict(sorted(_catalogue.items()))


def model_of(label: str) -> type[models.Model]:
    """The model behind a label."""
    return apps.get_model(label)


def erasable_models() -> list[type[models.Model]]:
    """Models whose rows are deleted when a tenant is closed, those that point to others first.

    Without those that stay, and without those that `erase_last` takes away.
    """
    found = [
        model_of(label)
        for each in _catalogue.values()
        if not each.kept and each.erase_last is None
        for label in each.models
    ]
    ordered: list[type[models.Model]] = []
    while found:
        free = [model for model in found if not any(_points_to(other, model) for other in found)]
        if not free:
            raise ValueError(f"these models point to each other in a circle: {found}")
        ordered += sorted(free, key=lambda model: model._meta.label)
        found = [model for model in found if model not in free]
    return ordered


def _points_to(model: type[models.Model], target: type[models.Model]) -> bool:
    return model is not target and any(
        field.related_model is target for field in model._meta.concrete_fields if field.is_relation
    )


def delete_rows(
    model: type[models.Model], tenant_id: UUID, *, column: str = "", value: Any = None, size: int = BATCH
) -> int:
    """Delete a tenant's rows of one table (those with `column` = `value`), in batches of their own transactions.

    Behind the platform door, and past the ORM: no signal, no cascade. Returns how many went. Memory is bounded.
    """
    table = connection.ops.quote_name(model._meta.db_table)
    condition, parameters = "tenant_id = %s", [tenant_id]
    if column:
        condition += f" AND {connection.ops.quote_name(column)} = %s"
        parameters.append(value)
    with transaction.atomic(), platform_scope("governance.erase"), connection.cursor() as cursor:
        for name in _columns_to_itself(model):
            cursor.execute(
                f'UPDATE {table} SET "{name}" = NULL WHERE {condition} AND "{name}" IS NOT NULL',  # noqa: S608
                parameters,
            )
    gone = 0
    while True:
        with transaction.atomic(), platform_scope("governance.erase"), connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {condition} LIMIT {int(size)})"  # noqa: S608
                f" AND {condition}",
                [*parameters, *parameters],
            )
            count = cursor.rowcount
        gone += count
        if count < size:
            return gone


def _columns_to_itself(model: type[models.Model]) -> list[str]:
    return [
        str(field.column)
        for field in model._meta.concrete_fields
        if field.is_relation and field.related_model is model
    ]


def delete_before(
    model: type[models.Model],
    column: str,
    cutoff: datetime,
    *,
    tenant_id: UUID,
    dry_run: bool,
    size: int = BATCH,
    gone: Sequence[tuple[datetime, datetime]] = (),
) -> Removed:
    """Delete a tenant's rows with `column` before `cutoff`, the oldest first, in batches; or count what would go.

    `gone` are spans that a real run would have removed before: a dry run leaves them out.

    Behind the platform door. Each batch is one transaction and one statement that also sums up what went. Needs an
    index that begins with tenant and column. Memory is bounded here and in PostgreSQL.
    """
    table, time = connection.ops.quote_name(model._meta.db_table), connection.ops.quote_name(column)
    removed = Removed(store=model._meta.db_table, tenant_id=tenant_id)
    sums = f"count(*), min({time}), max({time}), COALESCE(bit_xor(hashtextextended(id::text, 0)), 0)"
    old = f"tenant_id = %s AND {time} < %s"
    if dry_run:
        apart = f" AND NOT ({time} >= %s AND {time} < %s)" * len(gone)
        moments = [moment for span in gone for moment in span]
        with platform_scope("governance.retention"), connection.cursor() as cursor:
            cursor.execute(f"SELECT {sums} FROM {table} WHERE {old}{apart}", [tenant_id, cutoff, *moments])  # noqa: S608
            removed.add(*cursor.fetchone())
        return removed
    while True:
        with transaction.atomic(), platform_scope("governance.retention"), connection.cursor() as cursor:
            # Up to the time of the row after a full batch; of rows of one moment all go.
            cursor.execute(
                f"SELECT {time} FROM {table} WHERE {old} ORDER BY {time} OFFSET {int(size)} LIMIT 1",  # noqa: S608
                [tenant_id, cutoff],
            )
            edge = cursor.fetchone()
            until, compare = (edge[0], "<=") if edge else (cutoff, "<")
            cursor.execute(
                f"WITH gone AS (DELETE FROM {table} WHERE tenant_id = %s AND {time} {compare} %s RETURNING id, {time})"  # noqa: S608
                f" SELECT {sums} FROM gone",
                [tenant_id, until],
            )
            removed.add(*cursor.fetchone())
        if edge is None:
            return removed


def summed_up(model: type[models.Model], column: str, begin: datetime, end: datetime) -> Removed:
    """All tenants' rows of a span, as evidence before a partition goes. Inside the platform's scope."""
    table, time = connection.ops.quote_name(model._meta.db_table), connection.ops.quote_name(column)
    removed = Removed(store=model._meta.db_table, how="partition")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*), min({time}), max({time}), COALESCE(bit_xor(hashtextextended(id::text, 0)), 0)"  # noqa: S608
            f" FROM {table} WHERE {time} >= %s AND {time} < %s",
            [begin, end],
        )
        removed.add(*cursor.fetchone())
    return removed


# --- Valkey


def delete_keys(valkey: Any, patterns: Sequence[str]) -> int:
    """Delete keys by SCAN, a thousand at a time; returns how many."""
    gone = 0
    for pattern in patterns:
        batch: list[Any] = []
        for key in valkey.scan_iter(match=pattern, count=1_000):
            batch.append(key)
            if len(batch) == 1_000:
                gone += int(valkey.unlink(*batch))
                batch = []
        if batch:
            gone += int(valkey.unlink(*batch))
    return gone


def delete_entries(valkey: Any, stream: str, is_theirs: Callable[[Mapping[bytes, bytes]], bool]) -> int:
    """Delete entries of a stream for which `is_theirs`, reading a thousand at a time; returns how many."""
    gone, last = 0, "-"
    while entries := valkey.xrange(stream, min=last, count=1_000):
        ids = [entry_id for entry_id, fields in entries if is_theirs(fields)]
        if ids:
            gone += int(valkey.xdel(stream, *ids))
        last = f"({entries[-1][0].decode()}"
    return gone


def escaped(text: object) -> str:
    """`text` inside a pattern of Valkey's, standing for itself (attack 30)."""
    return "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in str(text))
