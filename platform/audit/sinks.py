"""Where checkpoints go: outside of the database. A port, and files as its one adapter."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from audit.proof.verify import canonical, read_lines

Record = dict[str, Any]
_TAIL_BYTES = 16_384


class CheckpointSink(Protocol):
    """Keeps signed records, and gives them back in the order in which they came. Never changes one."""

    def append(self, chain: str, record: Record) -> None:
        """Keep a record; it is safe from crashes when this returns. Raises OSError."""

    def last(self, chain: str) -> Record | None:
        """The newest record of a chain. Raises OSError."""

    def records(self, chain: str) -> Iterator[Record | None]:
        """All records of a chain, the oldest first; None for what cannot be read."""

    def append_key(self, record: Record) -> None:
        """Keep the record of a key. Raises OSError."""

    def key_records(self) -> list[Record]:
        """The records of keys, the oldest first."""


class FileSink:
    """A file for each chain, and one for keys, a JSON line for each record, append-only, mode 0600.

    A line that a crash cut off stays, and the next one begins on a line of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, chain: str, record: Record) -> None:
        """One write, then fsync."""
        self._append(self._path(chain), record)

    def last(self, chain: str) -> Record | None:
        """Reads the end of the file alone."""
        try:
            with self._path(chain).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return None
        for line in reversed(lines):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                return value
        return None

    def records(self, chain: str) -> Iterator[Record | None]:
        """Line by line."""
        return read_lines(self._path(chain))

    def append_key(self, record: Record) -> None:
        """As `append`."""
        self._append(self.folder / "keys.jsonl", record)

    def key_records(self) -> list[Record]:
        """There are as many as keys were ever used."""
        return [record for record in read_lines(self.folder / "keys.jsonl") if record is not None]

    def _path(self, chain: str) -> Path:
        if not chain.replace("_", "").isalnum() or chain == "keys":
            raise ValueError("not the name of a chain")
        return self.folder / f"{chain}.jsonl"

    def _append(self, path: Path, record: Record) -> None:
        is_new = not path.exists()
        if is_new:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            line = (b"\n" if is_torn else b"") + canonical(record) + b"\n"
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, "the record was cut off", str(path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            _sync_folder(self.folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checkpoint_sink() -> CheckpointSink:
    """The sink of settings."""
    return FileSink(settings.AUDIT_DIR)
