"""Keeps children alive: starts them, brings back those that die, stops them in order.

One asyncio loop in one thread, and nothing in it blocks for long. A child that ran for a while is back at once;
one that dies young waits longer each time. Output goes straight into a file per child, so that a child never
blocks on us; the files are cut to size from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from launcher.errors import StartError
from launcher.home import Home, read_json, write_private
from launcher.processes import (
    Spec,
    become_subreaper,
    boot_id,
    group_members,
    kill_group,
    kill_orphans,
    read_stat,
    spawn,
)
from launcher.progress import Progress, _

# A child that lived this long is healthy: it is started again at once.
HEALTHY_S = 5.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 15.0
# Logs: one file and this many older ones per child, each about this large.
LOG_BYTES, LOG_FILES, LOG_CHECK_S = 10_000_000, 3, 5.0
# Stopping: seconds for each phase, then SIGKILL. The whole stays below 20 s.
PHASE_S = {1: 8.0, 2: 7.0, 3: 4.0}


@dataclass
class Child:
    """One supervised process over all its lives."""

    spec: Spec
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    young_deaths: int = 0
    last_status: int = 0
    restart: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """None while it is dead."""
        return self.process.pid if self.process else None


class Supervisor:
    """All children of one home. Make it and call it inside the running loop, in the main thread."""

    def __init__(self, home: Home, progress: Progress) -> None:
        self.home = home
        self.progress = progress
        self.children: dict[str, Child] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.stopping = False
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._loop = asyncio.get_running_loop()
        become_subreaper()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._log_task = self._loop.create_task(self._bound_logs())

    # --- starting ---------------------------------------------------------------------------------------------
    def start(self, spec: Spec) -> Child:
        """Start a child that shall run until `stop`."""
        child = self.children[spec.name] = Child(spec)
        self._launch(child)
        return child

    async def run(self, spec: Spec) -> int:
        """Run a step to its end; returns its exit status (negative: the signal). Cancelling ends the step."""
        with self._open_log(spec.name) as log:
            process = spawn(spec, log)
        future: asyncio.Future[int] = self._loop.create_future()
        self._waiting[process.pid] = future
        try:
            process.returncode = await future
            return process.returncode
        finally:
            self._waiting.pop(process.pid, None)
            kill_group(process.pid)

    def pids(self) -> dict[str, int]:
        """Name → process id of those alive now."""
        return {name: child.pid for name, child in self.children.items() if child.pid}

    def log_path(self, name: str) -> Path:
        """Where a child's output goes."""
        return self.home.logs / f"{name}.log"

    def log_tail(self, name: str) -> str:
        """The last line that the child said, for an error sentence."""
        with contextlib.suppress(OSError):
            lines = self.log_path(name).read_text(errors="replace").strip().splitlines()
            return lines[-1].strip() if lines else ""
        return ""

    def _open_log(self, name: str) -> IO[bytes]:
        descriptor = os.open(self.log_path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "ab", buffering=0)

    def _launch(self, child: Child) -> None:
        child.restart = None
        with self._open_log(child.spec.name) as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} start\n".encode())
            child.process = spawn(child.spec, log)
        child.started = time.monotonic()
        child.starts += 1
        self._remember()
        self.on_change()

    # --- watching ---------------------------------------------------------------------------------------------
    def _reap(self) -> None:
        """Take notice of every child that has died, ours by birth or by adoption."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if waiter := self._waiting.pop(pid, None):
                if not waiter.done():
                    waiter.set_result(code)
                continue
            for child in self.children.values():
                if child.process and child.process.pid == pid:
                    self._died(child, code)

    def _died(self, child: Child, code: int) -> None:
        if child.process is None:
            return
        # Popen must not wait for this process id again: it may be another's soon.
        child.process.returncode = code
        kill_group(child.process.pid)
        child.process = None
        kill_orphans({*self.pids().values(), *self._waiting})
        child.last_status = code
        if self.stopping:
            return
        lived = time.monotonic() - child.started
        child.young_deaths = 0 if lived >= HEALTHY_S else child.young_deaths + 1
        delay = 0.0
        if child.young_deaths:
            delay = min(FIRST_DELAY_S * 2 ** (child.young_deaths - 1), LONGEST_DELAY_S)
        child.restart = self._loop.call_later(delay, self._launch, child)
        reason = (
            _("signal {number}").format(number=-code)
            if code < 0
            else _("status {number}").format(number=code)
        )
        text = _("{name} ended ({reason}), starting it again").format(name=child.spec.name, reason=reason)
        self.progress.line(text)

    def _remember(self) -> None:
        """Write down who our children are, for the next start should this process be killed."""
        children = []
        for name, pid in self.pids().items():
            if stat := read_stat(pid):
                children.append({"name": name, "pid": pid, "started": stat.started})
        write_private(self.home.children, json.dumps({"boot": boot_id(), "children": children}))

    # --- stopping ---------------------------------------------------------------------------------------------
    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Stop all children, phase by phase, within 20 s; at once when `hurry` is set. Runs once."""
        self.stopping = True
        self._log_task.cancel()
        for child in self.children.values():
            if child.restart:
                child.restart.cancel()
        for pid in list(self._waiting):
            kill_group(pid)
        for phase in sorted({child.spec.phase for child in self.children.values()}):
            members = [child for child in self.children.values() if child.spec.phase == phase]
            for child in members:
                if child.process:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.process.pid, child.spec.stop_signal)
            await self._gone(members, PHASE_S.get(phase, 4.0), hurry)
            for child in members:
                if child.process:
                    kill_group(child.process.pid)
            await self._gone(members, 1.0, None)
        kill_orphans(set())
        self._loop.remove_signal_handler(signal.SIGCHLD)
        self.home.children.unlink(missing_ok=True)

    async def _gone(self, members: list[Child], timeout_s: float, hurry: asyncio.Event | None) -> None:
        deadline = time.monotonic() + timeout_s
        while any(child.process for child in members) and time.monotonic() < deadline:
            if hurry and hurry.is_set():
                return
            await asyncio.sleep(0.02)

    # --- logs -------------------------------------------------------------------------------------------------
    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for name in self.children:
                with contextlib.suppress(OSError):
                    rotate(self.log_path(name), LOG_BYTES, LOG_FILES)


def rotate(path: Path, size_bytes: int, keep: int) -> None:
    """Move what a log holds to `<name>.1` once it is too large, and empty it in place: the child keeps it open.

    Lines that arrive while the copy is made are copied too; what is written between the last look and the cut
    (microseconds) is lost.
    """
    if path.stat().st_size < size_bytes:
        return
    for number in range(keep - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    with path.open("r+b") as source, path.with_name(f"{path.name}.1").open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        shutil.copyfileobj(source, target)
        source.truncate(0)


def end_leftovers(home: Home, timeout_s: float = 15.0) -> int:
    """End the children of a supervisor that was killed; returns how many groups there were. Blocks.

    They are known by process id and start time. Databases got a signal to shut down when their supervisor died,
    and are given the time; the others are killed.
    """
    record = read_json(home.children)
    if not isinstance(record, dict) or record.get("boot") != boot_id():
        return 0
    groups = [
        (child["name"], child["pid"], child["started"])
        for child in record.get("children", [])
        if group_members(child["pid"], child["started"])
    ]
    for name, leader, _started in groups:
        if name not in {"postgres", "valkey"}:
            kill_group(leader)
    deadline = time.monotonic() + timeout_s
    while any(group_members(leader, started) for _name, leader, started in groups):
        if time.monotonic() > deadline:
            for _name, leader, _started in groups:
                kill_group(leader)
            if time.monotonic() > deadline + 5:
                raise StartError(_("Processes of an earlier start cannot be ended: restart the machine."))
        time.sleep(0.05)
    home.children.unlink(missing_ok=True)
    return len(groups)
