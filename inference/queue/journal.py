"""A process's own copy of the usage records that it wrote, on its disk until PostgreSQL has them (law L11).

Notes of call logs go the same way, and give way first: they are dropped where usage records would be kept.

A record goes to two parties: the stream in Valkey, whose append-only file may lose the last second, and this journal.
The jobs worker says which entries PostgreSQL has (`keys.written`); only then are they dropped. When Valkey has lost
its memory (another `run_id`), when a process died and left a journal behind, or when an entry stays unconfirmed
although the stream is empty, what is open is put into the stream again. Records are known by their request's id, so
coming twice changes nothing.

One folder per process below USAGE_JOURNAL_DIR, locked for as long as the process lives, with segments of lines
`<number> <kind> <JSON>`. All work on files is done by one thread: `append` costs the caller a microsecond, and what
it took is on the disk some 20 ms later. SECURITY: entries name people and keys, so only the server's user may read.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import redis
import structlog
from django.conf import settings

from core import clock
from core.valkey import sync_client
from inference.queue.keys import CALL_LOGS, ENGINE_TOTALS, USAGE, written
from inference.queue.wire import EngineTotals, UsageNote, encode_usage

log = structlog.get_logger(__name__)

GATHER_S = 0.02  # how long records are gathered before one write and one fsync
LOOK_S = 2.0  # how often the journal asks what PostgreSQL has
ADOPT_S = 60.0  # how often it looks for what dead processes left
STALE_S = 300.0  # an entry open for longer is offered again once the stream is empty
SEGMENT_BYTES = 4 * 1024 * 1024
SEGMENT_S = 60.0  # a segment whose entries are all confirmed makes room after this
MOST_UNWRITTEN = 200_000  # entries kept in memory while the disk refuses them
_BATCH = 500
_NOTE, _TOTALS, _LOG = b"r", b"t", b"l"
# What call logs may take: of memory while the disk refuses them, and of the disk while PostgreSQL is away.
MOST_LOG_BYTES_IN_MEMORY = 32 * 1024 * 1024
MOST_LOG_BYTES_ON_DISK = 2 * 1024 * 1024 * 1024
# What the stream in Valkey holds of call logs at most: as many notes, and as many bytes.
MOST_NOTES = 100_000
MOST_NOTE_BYTES = 256 * 1024 * 1024


def most_notes(size: int) -> int:
    """How many notes the stream may hold when one of `size` bytes is added: bounded in number and, roughly, in bytes.

    What is pushed out is in a journal still, and offered again once the stream is empty.
    """
    return max(200, min(MOST_NOTES, MOST_NOTE_BYTES // max(1, size)))


class _Segment:
    """One file: entries `first`, `first` + 1, …, and which of them are still open."""

    def __init__(self, path: Path, first: int) -> None:
        self.path = path
        self.first = first
        self.open = bytearray()  # 1: PostgreSQL is not known to have it
        self.left = 0
        self.size = 0
        self.made_at = clock.monotonic()

    def added(self, count: int, size: int) -> None:
        self.open.extend(b"\x01" * count)
        self.left += count
        self.size += size

    def confirm(self, number: int) -> None:
        place = number - self.first
        if 0 <= place < len(self.open) and self.open[place]:
            self.open[place] = 0
            self.left -= 1

    def entries(self) -> Iterator[tuple[int, bytes, bytes]]:
        """The open entries, as number, kind and JSON. A last line that was cut off is left out."""
        with self.path.open("rb") as lines:
            for line in lines:
                number, _, rest = line.partition(b" ")
                kind, _, data = rest.partition(b" ")
                place = int(number) - self.first if number.isdigit() else -1
                if line.endswith(b"\n") and 0 <= place < len(self.open) and self.open[place]:
                    yield int(number), kind, data[:-1]


class _Folder:
    """The segments of one journal: this process's own, or one that a dead process left."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.name = path.name
        self.lock = lock
        self.segments: list[_Segment] = []

    @classmethod
    def create(cls, root: Path, name: str) -> _Folder:
        """A new folder that is locked before anybody else can see it."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        hidden = root / f".{name}"
        hidden.mkdir(mode=0o700)
        lock = os.open(hidden / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(root / name)
        return cls(root / name, lock)

    @classmethod
    def adopt(cls, path: Path) -> _Folder | None:
        """A folder whose process is dead; None while it lives."""
        try:
            lock = os.open(path / "lock", os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = cls(path, lock)
            for file in sorted(path.glob("*.log")):
                segment = _Segment(file, int(file.stem))
                with file.open("rb") as lines:
                    segment.added(sum(line.endswith(b"\n") for line in lines), file.stat().st_size)
                found.segments.append(segment)
        except (OSError, ValueError):
            os.close(lock)
            return None
        return found

    @property
    def left(self) -> int:
        """Open entries."""
        return sum(segment.left for segment in self.segments)

    def confirm(self, numbers: list[int]) -> None:
        """PostgreSQL has these."""
        for number in numbers:
            for segment in self.segments:
                segment.confirm(number)

    def tidy(self, keep: _Segment | None) -> None:
        """Remove the segments of which nothing is open; `keep` is being written to."""
        for segment in [found for found in self.segments if not found.left and found is not keep]:
            segment.path.unlink(missing_ok=True)
            self.segments.remove(segment)

    def close(self) -> None:
        """Let go, and remove the folder when nothing in it is open any more."""
        if not self.left:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


class Journal:
    """The journal of this process. `append` may be called from any thread and never waits."""

    def __init__(self, root: Path, client: Callable[[], redis.Redis] = sync_client) -> None:
        self.name = f"{settings.NODE_NAME}-{secrets.token_hex(6)}"
        self._root = root
        self._client = client
        self._lock = threading.Lock()
        self._next = 0
        self._unwritten: deque[tuple[int, bytes, bytes]] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._own: _Folder | None = None
        self._folders: list[_Folder] = []
        self._file: int | None = None
        self._run_id = ""
        self._log_bytes = 0  # of call logs that wait in memory
        self._is_full = False  # the disk's share for call logs is used up
        self._logs_dropped = 0
        self._looked_at = self._adopted_at = float("-inf")
        self._offered_at = clock.monotonic()

    # --- For everybody

    def start(self) -> None:
        """Begin to write, and to look after what earlier processes of this node left."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="usage-journal", daemon=True)
                self._thread.start()

    def append(self, note: UsageNote) -> str:
        """Keep a record; returns its mark, which goes into the stream with it."""
        return self._append(_NOTE, encode_usage(note))

    def append_totals(self, totals: EngineTotals) -> str:
        """Keep what a replica that has ended did; returns the mark."""
        return self._append(_TOTALS, msgspec.json.encode(totals))

    def append_log(self, data: bytes) -> str:
        """Keep a note of a call log; returns its mark, or "" when there is no room: then it is not kept here."""
        with self._lock:
            if self._is_full or self._log_bytes + len(data) > MOST_LOG_BYTES_IN_MEMORY:
                self._logs_dropped += 1
                return ""
            self._log_bytes += len(data)
        return self._append(_LOG, data)

    def close(self) -> None:
        """Write everything down and let go. What is still open is another process's to offer."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _append(self, kind: bytes, data: bytes) -> str:
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._unwritten.append((number, kind, data))
        if self._thread is None:
            self.start()
        self._wake.set()
        return f"{self.name}:{number}"

    # --- The thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_S)
            self._wake.clear()
            self._stopping.wait(GATHER_S)
            self._turn()
        self._turn()
        for folder in self._folders:
            folder.close()
        if self._file is not None:
            os.close(self._file)

    def _turn(self) -> None:
        try:
            self._write()
        except OSError as error:
            log.error("journal.cannot_write", error=str(error))
            while len(self._unwritten) > MOST_UNWRITTEN:
                self._forget(self._unwritten.popleft())
        if clock.monotonic() - self._looked_at < LOOK_S and not self._stopping.is_set():
            return
        self._looked_at = clock.monotonic()
        try:
            self._look()
        except (redis.RedisError, OSError) as error:
            log.info("journal.waits_for_valkey", error=type(error).__name__)
        except Exception:
            log.exception("journal.failed")

    def _write(self) -> None:
        """Everything that waits, in one write and one fsync."""
        entries = list(self._unwritten)
        if not entries:
            return
        segment = self._segment(entries[0][0])
        data = b"".join(b"%d %s %s\n" % entry for entry in entries)
        assert self._file is not None  # noqa: S101 - _segment opened it; for the type checker
        start = os.fstat(self._file).st_size
        try:
            _write_whole(self._file, data)
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, start)  # no half entry in front of the next one
            raise
        segment.added(len(entries), len(data))
        for _ in entries:
            self._forget(self._unwritten.popleft())

    def _forget(self, entry: tuple[int, bytes, bytes]) -> None:
        """An entry has left the memory."""
        if entry[1] == _LOG:
            with self._lock:
                self._log_bytes -= len(entry[2])

    def _segment(self, number: int) -> _Segment:
        """The segment that takes entry `number` next."""
        if self._own is None:
            self._own = _Folder.create(self._root, self.name)
            self._folders.append(self._own)
        last = self._own.segments[-1] if self._own.segments else None
        if last is None or self._file is None or self._must_end(last, number):
            path = self._own.path / f"{number:016d}.log"
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            if self._file is not None:
                os.close(self._file)
            self._file = file
            last = _Segment(path, number)
            self._own.segments.append(last)
        return last

    @staticmethod
    def _is_over(segment: _Segment) -> bool:
        return not segment.left and clock.monotonic() - segment.made_at > SEGMENT_S

    @classmethod
    def _must_end(cls, segment: _Segment, number: int) -> bool:
        return (
            cls._is_over(segment)
            or segment.size >= SEGMENT_BYTES
            or number != segment.first + len(segment.open)
        )

    # --- With Valkey

    def _look(self) -> None:
        valkey = self._client()
        run_id = str(valkey.info("server")["run_id"])
        if clock.monotonic() - self._adopted_at > ADOPT_S:
            self._adopted_at = clock.monotonic()
            self._adopt(valkey)
        if self._run_id and run_id != self._run_id:
            log.warning("journal.valkey_restarted")
            self._offer(valkey, self._folders)
        self._run_id = run_id
        for folder in self._folders:
            while numbers := valkey.spop(written(folder.name), 10_000):
                folder.confirm([int(number) for number in numbers])
        if clock.monotonic() - self._offered_at > STALE_S:
            self._offered_at = clock.monotonic()
            if not valkey.xlen(USAGE) and not valkey.xlen(CALL_LOGS):
                self._offer(valkey, self._folders, older_than_s=STALE_S)
        self._tidy()
        self._is_full = (
            sum(s.size for folder in self._folders for s in folder.segments) > MOST_LOG_BYTES_ON_DISK
        )
        if self._logs_dropped:
            log.error("journal.call_logs_not_kept", notes=self._logs_dropped)
            self._logs_dropped = 0

    def _tidy(self) -> None:
        for folder in list(self._folders):
            own = folder is self._own
            if own and folder.segments and self._is_over(folder.segments[-1]):
                # What PostgreSQL has does not stay on the disk of a process that has nothing more to write.
                if self._file is not None:
                    os.close(self._file)
                    self._file = None
                folder.tidy(None)
                continue
            folder.tidy(folder.segments[-1] if own and folder.segments else None)
            if not own and not folder.segments:
                folder.close()
                self._folders.remove(folder)

    def _adopt(self, valkey: redis.Redis) -> None:
        held = {folder.path for folder in self._folders}
        for path in sorted(self._root.glob("[!.]*/")) if self._root.is_dir() else ():
            if path not in held and (folder := _Folder.adopt(path)) is not None:
                log.info("journal.adopted", journal=folder.name, open=folder.left)
                self._folders.append(folder)
                self._offer(valkey, [folder])

    def _offer(self, valkey: redis.Redis, folders: list[_Folder], older_than_s: float = 0.0) -> None:
        """Put open entries into the stream (again)."""
        offered = 0
        pipeline: Any = valkey.pipeline(transaction=False)
        for folder in folders:
            for segment in folder.segments:
                if not segment.left or clock.monotonic() - segment.made_at < older_than_s:
                    continue
                for number, kind, data in segment.entries():
                    if kind == _TOTALS:
                        pipeline.hset(ENGINE_TOTALS, msgspec.json.decode(data)["replica"], data)
                    elif kind == _LOG:
                        entry: Any = {"r": data, "j": f"{folder.name}:{number}"}
                        pipeline.xadd(CALL_LOGS, entry, maxlen=most_notes(len(data)), approximate=True)
                    else:
                        pipeline.xadd(USAGE, {"r": data, "j": f"{folder.name}:{number}"})
                    offered += 1
                    if offered % _BATCH == 0:
                        pipeline.execute()
        pipeline.execute()
        if offered:
            log.warning("journal.offered_again", entries=offered)


def _write_whole(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


_journal: Journal | None = None
_making = threading.Lock()


def process_journal() -> Journal:
    """The one journal of this process; closed when the process ends in good order."""
    global _journal
    if _journal is None:
        with _making:
            if _journal is None:
                _journal = Journal(Path(settings.USAGE_JOURNAL_DIR))
                atexit.register(_journal.close)
    return _journal
