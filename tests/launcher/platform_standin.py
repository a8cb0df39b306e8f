"""A copy of the launcher in a tree of stand-ins, started as `make run` starts the real one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).with_name("standin")
LONG_S = 30.0


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Standin:
    """One platform of stand-ins in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        shutil.copytree(ROOT / "platform" / "launcher", folder / "platform" / "launcher")
        for package, source, module in (
            ("config", "server.py", "server.py"),
            ("celery", "celery.py", "__main__.py"),
        ):
            (folder / "platform" / package).mkdir()
            (folder / "platform" / package / "__init__.py").touch()
            shutil.copy(STANDIN / source, folder / "platform" / package / module)
        shutil.copy(STANDIN / "manage.py", folder)

    def start(self, *, ignoring: str = "", **environment: str) -> Standin:
        """Begin to start, from a shell that ignores the signals named in `ignoring` ("INT HUP"); see `ready`."""
        shell = ["sh", "-c", f"trap '' {ignoring}; exec \"$@\"", "sh"] if ignoring else []
        self.process = subprocess.Popen(
            [*shell, sys.executable, "-m", "launcher", "up"],
            env=self.environment(**environment),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def environment(self, **more: str) -> dict[str, str]:
        """What the person's shell would hold."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DATABASE_", "REDIS_", "DJANGO_"))
        }
        own = {"ATRIUM_HOME": str(self.home), "PORT": str(self.port), "ENGINE": "none", "LC_ALL": "C.UTF-8"}
        return {**kept, **own, "PYTHONPATH": str(self.folder / "platform"), **more}

    @property
    def ready_file(self) -> Path:
        """What programs wait for."""
        return self.home / "ready.json"

    def ready(self) -> dict[str, Any]:
        """What ready.json says, once it is there."""
        eventually(
            lambda: self.ready_file.exists() or self.process is None or self.process.poll() is not None,
            LONG_S,
        )
        return dict(json.loads(self.ready_file.read_text()))

    def pids(self) -> dict[str, int]:
        """Name → process id, as ready.json has them now."""
        return {process["name"]: process["pid"] for process in self.ready()["processes"]}

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and wait; exit status and all that was printed."""
        if self.process is None:
            return 0, ""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait until it has ended by itself; exit status and all that was printed."""
        assert self.process
        output, _errors = self.process.communicate(timeout=LONG_S)
        status, self.process = self.process.returncode, None
        return status, output

    def rows(self) -> int:
        """How often the database was prepared, seen as the runtime role."""
        environment = json.loads((self.home / "web-environment.json").read_text())
        with psycopg.connect(environment["DATABASE_URL"]) as connection:
            row = connection.execute("SELECT count(*) FROM starts").fetchone()
            return int(row[0]) if row else 0

    def serves_rows(self) -> bool:
        """Whether the database answers (it recovers for a while after a kill)."""
        try:
            return self.rows() > 0
        except psycopg.OperationalError:
            return False

    def processes(self) -> list[int]:
        """Everything that was started out of this folder and still lives."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            if (
                int(entry) != os.getpid()
                and os.fsencode(self.folder) in command + environment
                and alive(int(entry))
            ):
                found.append(int(entry))
        return found
