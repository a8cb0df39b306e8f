"""A process's journal: what Valkey forgets, comes back; what PostgreSQL has, goes (L11)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from core.valkey import sync_client
from inference.queue import journal as module
from inference.queue.journal import Journal
from inference.queue.keys import ENGINE_TOTALS, USAGE, written
from inference.queue.wire import EngineTotals
from tests.metering.notes import in_stream, note
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


class Switched:
    """The real Valkey, whose `run_id` and reach a test decides."""

    def __init__(self) -> None:
        self.run_id = "one"
        self.away = False

    def __call__(self) -> Any:
        if self.away:
            raise redis.ConnectionError("away")
        return self

    def info(self, _section: str) -> dict[str, str]:
        return {"run_id": self.run_id}

    def __getattr__(self, name: str) -> Any:
        return getattr(sync_client(), name)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of milliseconds; the journal that earlier tests of this process have left would have it, too."""
    if module._journal is not None:
        module._journal.close()
        module._journal = None
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    monkeypatch.setattr(module, "GATHER_S", 0.001)


@pytest.fixture
def make(tmp_path: Path, quick: None, stream: str) -> Iterator[Callable[..., Journal]]:
    made: list[Journal] = []

    def one(client: Any = sync_client) -> Journal:
        made.append(Journal(tmp_path, client))
        return made[-1]

    yield one
    for journal in made:
        journal.close()
        sync_client().delete(written(journal.name))


def lines(folder: Path) -> list[bytes]:
    return [line for file in sorted(folder.glob("*/*.log")) for line in file.read_bytes().splitlines()]


def confirm(journal: Journal, *numbers: int) -> None:
    sync_client().sadd(written(journal.name), *numbers)


def test_entries_are_on_the_disk_at_once_and_only_for_us(make: Any, tmp_path: Path) -> None:
    journal = make()
    marks = [journal.append(note("t", f"req-{number}")) for number in range(3)]
    assert marks == [f"{journal.name}:{number}" for number in range(3)]
    eventually(lambda: len(lines(tmp_path)) == 3)
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())


def test_what_valkey_lost_is_put_into_the_stream_again(make: Any) -> None:
    valkey = Switched()
    journal = make(valkey)
    for number in range(4):
        journal.append(note("t", f"req-{number}"))
    confirm(journal, 1)
    eventually(lambda: not sync_client().exists(written(journal.name)))
    assert in_stream() == []  # nothing is offered while Valkey is the one that had it
    valkey.run_id = "two"
    eventually(lambda: in_stream() == ["req-0", "req-2", "req-3"])
    time.sleep(0.2)
    assert len(in_stream()) == 3  # and only once


def test_a_restart_is_noticed_although_valkey_was_away(make: Any) -> None:
    valkey = Switched()
    journal = make(valkey)
    journal.append(note("t", "before"))
    eventually(lambda: journal._run_id == "one")
    valkey.away = True
    journal.append(note("t", "meanwhile"))
    time.sleep(0.1)
    valkey.run_id, valkey.away = "two", False
    eventually(lambda: sorted(in_stream()) == ["before", "meanwhile"])


def test_what_is_confirmed_leaves_the_disk(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 2_000)
    journal = make()
    for number in range(40):
        journal.append(note("t", f"req-{number}"))
        if number % 5 == 0:
            time.sleep(0.01)
    eventually(lambda: len(lines(tmp_path)) == 40)
    assert len(list(tmp_path.glob("*/*.log"))) > 2
    confirm(journal, *range(39))
    eventually(lambda: len(list(tmp_path.glob("*/*.log"))) <= 2)
    confirm(journal, 39)
    eventually(lambda: not sync_client().exists(written(journal.name)))
    journal.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_entry_that_stays_open_is_offered_again_when_the_stream_is_empty(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALE_S", 0.2)
    journal = make()
    journal.append(note("t", "forgotten"))
    eventually(lambda: in_stream() == ["forgotten"])
    time.sleep(0.4)
    assert in_stream() == ["forgotten"]  # it waits there: no second copy
    sync_client().delete(USAGE)
    eventually(lambda: in_stream() == ["forgotten"])


def test_a_full_disk_keeps_nobody_waiting_and_loses_nothing(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = module._write_whole, True

    def write(file: int, data: bytes) -> None:
        if full:
            real(file, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        real(file, data)

    monkeypatch.setattr(module, "_write_whole", write)
    journal = make()
    for number in range(5):
        journal.append(note("t", f"req-{number}"))
    time.sleep(0.1)
    full = False
    journal.append(note("t", "req-5"))
    eventually(lambda: len(lines(tmp_path)) == 6)
    assert [line.split(b" ")[0] for line in lines(tmp_path)] == [b"0", b"1", b"2", b"3", b"4", b"5"]


CHILD = """
import os, sys, signal, time
from pathlib import Path
import django
django.setup()
from inference.queue import journal as module
from tests.metering.notes import note
module.LOOK_S = 30.0
journal = module.Journal(Path(sys.argv[1]))
for number in range(500):
    journal.append(note("t", f"req-{number}"))
while sum(file.read_bytes().count(b"\\n") for file in Path(sys.argv[1]).glob("[!.]*/*.log")) < 500:
    time.sleep(0.01)
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_what_a_killed_process_left_is_offered_by_the_next_and_a_live_one_is_left_alone(
    make: Any, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        living = make()
        living.start()
        eventually(lambda: living._adopted_at > 0)
        assert in_stream() == []
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    (left,) = [path for path in tmp_path.iterdir() if path.name != living.name]
    with (next(left.glob("*.log"))).open("ab") as torn:
        torn.write(b'500 r {"request_id": "cut o')  # the machine went down in the middle of a line
    living._adopted_at = float("-inf")
    eventually(lambda: len(in_stream()) == 500)
    assert sorted(in_stream()) == sorted(f"req-{number}" for number in range(500))
    sync_client().sadd(written(left.name), *range(500))
    eventually(lambda: not left.exists())


def test_a_replicas_last_totals_survive_valkey(make: Any) -> None:
    valkey = Switched()
    journal = make(valkey)
    totals = EngineTotals("rep", "dep", "node", 1, 2, ended_ms=2, requests=7)
    journal.append_totals(totals)
    eventually(lambda: journal._run_id == "one")
    valkey.run_id = "two"
    eventually(lambda: sync_client().hget(ENGINE_TOTALS, "rep"))
    found = msgspec.json.decode(sync_client().hget(ENGINE_TOTALS, "rep"), type=EngineTotals)  # type: ignore[arg-type]
    assert found == totals
