"""Child processes at the level of the operating system: start one, end all that it left behind.

Linux only. Each child gets a session and process group of its own; whatever of its descendants is still in that
group when it dies is killed, and what had left the group is found as our own orphan (we are their "subreaper").
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from launcher.osuser import Account

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Spec:
    """How to run one child, and how to end it."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    directory: Path = Path("/")
    # Children are stopped in the order of their phases, those of one phase together.
    phase: int = 1
    stop_signal: signal.Signals = signal.SIGTERM
    # What the kernel sends the child when this process dies without having stopped it.
    orphan_signal: signal.Signals = signal.SIGKILL
    account: Account | None = None
    # How far it yields the processor to its siblings (nice(2)): 0 not at all.
    niceness: int = 0


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process instead of to init, so that they can be found."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(spec: Spec, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the child in a session of its own. Call it from the main thread.

    NOTE: the kernel ties the orphan signal to the *thread* that started the child.
    """
    parent = os.getpid()
    orphan_signal, niceness = int(spec.orphan_signal), spec.niceness

    def in_child() -> None:
        # After the change of user, which would clear it.
        _libc.prctl(_PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0)
        if os.getppid() != parent:  # died in between
            os._exit(1)
        if niceness:
            os.nice(niceness)

    account = spec.account
    return subprocess.Popen(
        spec.command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(spec.environment),
        cwd=spec.directory,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        preexec_fn=in_child,
    )


def kill_group(leader: int) -> None:
    """SIGKILL for all that is left in the process group of a child that has died (or must)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill_orphans(known: set[int]) -> None:
    """SIGKILL for descendants whose own parent has died: our children by adoption, all but the `known` ones."""
    me = os.getpid()
    while orphans := [
        pid for pid, stat in _all() if stat.parent == me and pid not in known and not stat.zombie
    ]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                known = known | {pid}


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/<pid>/stat that are used here. `started` is in clock ticks since boot."""

    parent: int
    group: int
    started: int
    zombie: bool


def read_stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name may itself hold spaces and brackets
    return Stat(int(fields[1]), int(fields[2]), int(fields[19]), fields[0] == "Z")


def group_members(leader: int, started: int) -> list[int]:
    """The living members of a group whose leader had this pid and start time; empty if the pid is another's now."""
    stat = read_stat(leader)
    if stat and stat.started != started:
        return []
    return [pid for pid, member in _all() if member.group == leader and not member.zombie]


def _all() -> Iterator[tuple[int, Stat]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := read_stat(int(entry))):
            yield int(entry), stat


def boot_id() -> str:
    """Differs after every boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
