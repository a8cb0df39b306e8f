"""Records on their way from a Valkey stream to PostgreSQL: read, written, committed, and only then off the stream.

Killed at any moment, nothing is lost and nothing counts twice (L11): what was not committed is read again, and what
was committed and not taken off is written again, which changes nothing. One ingestion of a stream runs at a time, held
by a lock of the database session, so a dead one's lock goes with its connection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, ProgrammingError, transaction
from redis.exceptions import RedisError, ResponseError

from core.locks import alone
from core.valkey import sync_client
from inference.queue.keys import written

log = structlog.get_logger(__name__)

GROUP = "postgres"
CONSUMER = "jobs"
BATCH = 5_000
MOST_BATCHES = 50
WRITTEN_TTL_S = 86_400
REFUSED_LENGTH = 100_000

Record = dict[str, Any]
# Writes records inside a transaction, idempotently; what it returns goes to `AfterCommit`.
Write = Callable[[list[Record]], list[Any]]
# Told what was written, after COMMIT. Told again after a crash, so it must be idempotent.
AfterCommit = Callable[[list[Any]], object]
# One entry of the stream: its id, its record, its place in a journal.
_Entry = tuple[bytes, Record, str]

# Not the record's fault: the database is away, busy or being migrated. The records wait.
NOT_NOW = (OperationalError, InterfaceError, ProgrammingError, RedisError)


@dataclass(frozen=True, slots=True)
class Source:
    """A stream of records. `name` is what the log calls them; `refused` a stream for those that PostgreSQL refuses for
    what they say, kept for a person to look at, or "" where nobody may look and they are dropped."""

    name: str
    stream: str
    lock: int
    decode: Callable[[bytes], Record]
    refused: str = ""
    batch: int = BATCH


def ingest(source: Source, *, write: Write, after_commit: AfterCommit) -> int:
    """Bring waiting records to PostgreSQL; returns how many entries left the stream.

    Idempotent: a record is known by its request's id. Returns 0 while another ingestion runs. Raises what says that
    the database or Valkey is away; nothing is lost then. Cost: one transaction per batch.
    """
    with alone(source.lock) as is_alone:
        if not is_alone:
            return 0
        return sum(_take(source, entries, write, after_commit) for entries in _batches(source))


def _batches(source: Source) -> Iterator[list[tuple[bytes, dict[bytes, bytes]]]]:
    """What an earlier ingestion had read and not finished, then what is new."""
    valkey = sync_client()
    try:
        valkey.xgroup_create(source.stream, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    position: Any = "0"
    for _ in range(MOST_BATCHES):
        answer: Any = valkey.xreadgroup(GROUP, CONSUMER, {source.stream: position}, count=source.batch)
        entries = answer[0][1] if answer else []
        if entries:
            yield entries
        if position == ">" and len(entries) < source.batch:
            # What came meanwhile waits for the next run: a batch of a few costs as much as one of hundreds.
            return
        if not entries:
            position = ">"


def _take(
    source: Source, found: list[tuple[bytes, dict[bytes, bytes]]], write: Write, after_commit: AfterCommit
) -> int:
    """One batch: written, committed, told, and only then off the stream."""
    entries: list[_Entry] = []
    for entry_id, fields in found:
        try:
            entries.append((entry_id, source.decode(fields[b"r"]), fields.get(b"j", b"").decode()))
        except (ValueError, KeyError, AttributeError) as error:
            # Nothing that could be read: an entry that was deleted meanwhile, or no record at all.
            if fields:
                _refuse(source, repr(fields)[:10_000], error, request_id="")
    if entries:
        _commit(source, entries, write, after_commit)
    ids = [entry_id for entry_id, _ in found]
    pipeline = sync_client().pipeline(transaction=False)
    pipeline.xack(source.stream, GROUP, *ids)
    pipeline.xdel(source.stream, *ids)
    for journal, numbers in by_journal(entries).items():
        pipeline.sadd(written(journal), *numbers)
        pipeline.expire(written(journal), WRITTEN_TTL_S)
    pipeline.execute()
    return len(ids)


def _commit(source: Source, entries: list[_Entry], write: Write, after_commit: AfterCommit) -> None:
    """Write in one transaction. A record that cannot be written is found by halves and put aside, alone."""
    try:
        with transaction.atomic():
            results = write([record for _, record, _ in entries])
    except NOT_NOW:
        raise
    except Exception as error:
        if len(entries) == 1:
            record = entries[0][1]
            _refuse(source, repr(record), error, request_id=str(record.get("request_id"))[:100])
            return
        log.warning(f"{source.name}.batch_failed", records=len(entries), error=type(error).__name__)
        middle = len(entries) // 2
        _commit(source, entries[:middle], write, after_commit)
        _commit(source, entries[middle:], write, after_commit)
        return
    after_commit(results)


def _refuse(source: Source, record: str, error: Exception, *, request_id: str) -> None:
    said = f"{type(error).__name__}: {error}"[:500] if source.refused else type(error).__name__
    log.error(f"{source.name}.refused", request_id=request_id, error=said)
    if source.refused:
        sync_client().xadd(source.refused, {"r": record}, maxlen=REFUSED_LENGTH, approximate=True)


def by_journal(entries: list[_Entry]) -> dict[str, list[str]]:
    """Numbers of entries by the journal that they stand in."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for _, _, mark in entries:
        journal, _, number = mark.rpartition(":")
        if journal and number.isdigit():
            found[journal].append(number)
    return found
