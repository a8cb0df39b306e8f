"""How often rules matched: counted in web processes, carried by a stream, added up in PostgreSQL once.

A batch leaves a web process within the tick of the loop in which it was counted, with an id of its own. The jobs worker
adds it up and notes the id in the same transaction, and only then takes it off the stream: what is delivered twice is
counted once, and a killed process loses nothing that it had sent.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple, cast
from uuid import UUID

import msgspec
import structlog
from django.db import connection, transaction
from redis.exceptions import ResponseError

from core import clock
from core.ids import new_id
from core.locks import alone
from core.scoping import tenant_scope
from core.valkey import sync_client
from safety.models import HitBatch, HitCount
from safety.spec import Action, Direction, Verdict

log = structlog.get_logger(__name__)

STREAM = "atrium:safety:hits"
MAX_LENGTH = 500_000  # entries that wait while no jobs worker runs
GROUP = "postgres"
CONSUMER = "jobs"
LOCK = 0x53616648  # "SafH"
BATCH = 1_000
_MOST_COUNTED = (1 << 31) - 1
MOST_BATCHES = 50
# Longer than anything is delivered again.
BATCH_MEMORY = timedelta(days=3)


class Hit(NamedTuple):
    """What is counted apart."""

    tenant_id: str
    day: str  # ISO, UTC
    rule: str
    version: int
    category: str
    action: str
    direction: str


Counts = Mapping[Hit, int]


def counts_of(tenant_id: UUID, verdicts: Iterable[Verdict]) -> Counter[Hit]:
    """The hits of one request, today."""
    day = clock.now().date().isoformat()
    tenant = str(tenant_id)
    return Counter(
        Hit(
            tenant,
            day,
            verdict.rule[:100],
            verdict.version,
            verdict.category[:50],
            verdict.action.value,
            verdict.direction.value,
        )
        for verdict in verdicts
    )


def fields_of(counts: Counts, batch: UUID) -> dict[str, bytes | str]:
    """An entry of the stream."""
    return {"b": batch.hex, "c": msgspec.json.encode([[*hit, count] for hit, count in counts.items()])}


def record(counts: Counts, *, batch: UUID | None = None) -> None:
    """Send counts on their way; for tasks and threads, never for an event loop (`safety.hits_sink`).

    `batch` makes a second try harmless. Raises RedisError. One round trip.
    """
    if counts:
        entry: Any = fields_of(counts, batch or new_id())
        sync_client().xadd(STREAM, entry, maxlen=MAX_LENGTH, approximate=True)


def ingest() -> int:
    """Add up what waits on the stream; returns how many batches left it. For the schedule; one at a time.

    Raises what says that the database or Valkey is away; nothing is lost then. One transaction per BATCH entries.
    """
    with alone(LOCK) as is_alone:
        if not is_alone:
            return 0
        _make_group()
        taken = 0
        position = "0"  # what an earlier run had read and not finished comes first
        for _ in range(MOST_BATCHES):
            answer: Any = sync_client().xreadgroup(GROUP, CONSUMER, {STREAM: position}, count=BATCH)
            entries = answer[0][1] if answer else []
            if entries:
                _take(entries)
                taken += len(entries)
            elif position == ">":
                break
            else:
                position = ">"
        return taken


def forget_tenant(tenant_id: UUID) -> int:
    """Take a tenant's counts off the stream; returns how many entries held some. For the tenant's closing.

    What others have in the same entry stays on the stream as an entry of the same batch, so that it is counted once
    however this and the jobs worker meet. What was read before and comes late is not stored for a closed tenant.
    """
    valkey, mark = sync_client(), str(tenant_id)
    touched, last = 0, "-"
    while entries := cast("Any", valkey.xrange(STREAM, min=last, count=BATCH)):
        for entry_id, fields in entries:
            raw = fields.get(b"c", b"")
            if mark.encode() not in raw:
                continue
            touched += 1
            others = _without(raw, mark)
            pipeline = valkey.pipeline(transaction=True)
            if others:
                pipeline.xadd(STREAM, {"b": fields[b"b"], "c": others}, maxlen=MAX_LENGTH, approximate=True)
            pipeline.xack(STREAM, GROUP, entry_id)
            pipeline.xdel(STREAM, entry_id)
            pipeline.execute()
        last = f"({entries[-1][0].decode()}"
    return touched


def _without(raw: bytes, tenant_id: str) -> bytes:
    """The counts of an entry without one tenant's; empty when none is left, or when nobody could read it."""
    try:
        rows = [row for row in msgspec.json.decode(raw, type=list[list[Any]]) if row and row[0] != tenant_id]
    except msgspec.DecodeError:
        return b""
    return msgspec.json.encode(rows) if rows else b""


def forget_batches() -> int:
    """Forget ids of batches that nothing delivers again. For the schedule."""
    return HitBatch.objects.filter(counted_at__lt=clock.now() - BATCH_MEMORY).delete()[0]


def _make_group() -> None:
    try:
        sync_client().xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def _take(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
    batches: dict[UUID, Counter[Hit]] = {}
    for entry_id, fields in entries:
        try:
            batches[UUID(hex=fields[b"b"].decode())] = _decode(fields[b"c"])
        except (KeyError, ValueError, TypeError, msgspec.DecodeError):
            log.error("safety.hits_refused", entry=entry_id.decode())
    with transaction.atomic():
        new = _note(list(batches))
        by_tenant: defaultdict[str, Counter[Hit]] = defaultdict(Counter)
        for batch in new:
            for hit, count in batches[batch].items():
                by_tenant[hit.tenant_id][hit] += count
        for tenant_id in sorted(by_tenant):
            _add(UUID(tenant_id), by_tenant[tenant_id])
    ids = [entry_id for entry_id, _ in entries]
    pipeline = sync_client().pipeline(transaction=False)
    pipeline.xack(STREAM, GROUP, *ids)
    pipeline.xdel(STREAM, *ids)
    pipeline.execute()


def _decode(raw: bytes) -> Counter[Hit]:
    rows = msgspec.json.decode(raw, type=list[tuple[str, str, str, int, str, str, str, int]])
    counts: Counter[Hit] = Counter()
    for *parts, count in rows:
        hit = Hit._make(parts)
        UUID(hit.tenant_id)
        date.fromisoformat(hit.day)
        Action(hit.action)
        Direction(hit.direction)
        if not 1 <= count <= _MOST_COUNTED or not 0 <= hit.version <= _MOST_COUNTED:
            raise ValueError("a number out of bounds")
        if "\x00" in f"{hit.rule}{hit.category}" or len(hit.rule) > 100 or len(hit.category) > 50:
            raise ValueError("a name that cannot be stored")
        counts[hit] += count
    return counts


def _note(batches: list[UUID]) -> list[UUID]:
    """Those of the batches that were not counted before, noted as counted."""
    before = set(HitBatch.objects.filter(pk__in=batches).values_list("pk", flat=True))
    new = [batch for batch in batches if batch not in before]
    HitBatch.objects.bulk_create([HitBatch(pk=batch) for batch in new])
    return new


def _add(tenant_id: UUID, counts: Counter[Hit]) -> None:
    """One UPSERT for a tenant's counts, inside its scope. Of a tenant that is gone, nothing is kept."""
    hits = sorted(counts)
    table = HitCount._meta.db_table
    tenants = HitCount._meta.get_field("tenant").related_model._meta.db_table
    with tenant_scope(tenant_id), connection.cursor() as cursor:
        cursor.execute(
            f'INSERT INTO "{table}" (id, tenant_id, day, rule, version, category, action, direction, count)'  # noqa: S608
            " SELECT u.id, t.id, u.day, u.rule, u.version, u.category, u.action, u.direction, u.count"
            f' FROM "{tenants}" t, unnest(%s::uuid[], %s::date[], %s::text[], %s::int[], %s::text[], %s::text[],'
            " %s::text[], %s::bigint[]) AS u(id, day, rule, version, category, action, direction, count)"
            # What is late for a tenant that was closed must not come back.
            " WHERE t.id = %s AND t.status <> 'closed'"
            " ON CONFLICT (tenant_id, day, rule, version, action, direction)"
            f' DO UPDATE SET count = "{table}".count + excluded.count',
            [
                [new_id() for _ in hits],
                [hit.day for hit in hits],
                [hit.rule for hit in hits],
                [hit.version for hit in hits],
                [hit.category for hit in hits],
                [hit.action for hit in hits],
                [hit.direction for hit in hits],
                [counts[hit] for hit in hits],
                tenant_id,
            ],
        )
