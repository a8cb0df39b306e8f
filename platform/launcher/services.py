"""Only PostgreSQL and Valkey, for tests and for development: started, provisioned, ended. No supervision."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from types import TracebackType

from launcher import database
from launcher.access import DATABASE, Access, role_passwords
from launcher.embedded import Postgres, Valkey
from launcher.errors import StartError
from launcher.home import Home
from launcher.processes import Spec, kill_group, spawn
from launcher.progress import _
from launcher.secrets import Secrets

START_WITHIN_S = 30.0


class Services:
    """The two servers of one home; a context manager. They end with this process, whatever ends it."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.home = Home(path)
        self.durable = durable
        self.postgres: Postgres | None = None
        self.valkey: Valkey | None = None
        self._running: list[tuple[Spec, subprocess.Popen[bytes]]] = []
        self._lock: contextlib.AbstractContextManager[object] | None = None

    @property
    def secrets(self) -> Secrets:
        """Those of this home."""
        return Secrets(self.home.secrets)

    @property
    def admin_url(self) -> str:
        """The superuser's address: for tests, which make databases of their own."""
        if self.postgres is None:
            raise RuntimeError("admin_url: PostgreSQL was not started")
        return self.postgres.superuser_url

    @property
    def redis_url(self) -> str:
        """Valkey's address in the form of redis-py."""
        if self.valkey is None:
            raise RuntimeError("redis_url: Valkey was not started")
        return self.valkey.url

    def start(self, *, postgres: bool = True, valkey: bool = True) -> None:
        """Start the wanted servers and wait until they answer (0.5 s, 1.5 s the first time)."""
        self.home.create()
        self._lock = self.home.lock()
        try:
            if valkey:
                self.valkey = Valkey.prepare(self.home, self.secrets)
                self._spawn(self.valkey.spec())
            if postgres:
                self.postgres = Postgres.prepare(self.home, self.secrets, durable=self.durable)
                self._spawn(self.postgres.spec())
            self._wait()
        except BaseException:
            self.stop()
            raise

    def provision(self, name: str = DATABASE) -> Access:
        """Make the database `name` with the platform's roles; returns how to connect."""
        if self.postgres is None:
            raise RuntimeError("provision: PostgreSQL was not started")
        passwords = role_passwords(self.secrets)
        return database.provision(self.postgres.superuser_url, passwords, database=name)

    def stop(self) -> None:
        """End the servers; 5 s, then SIGKILL."""
        for spec, process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(spec.stop_signal)
        for _spec, process in reversed(self._running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            kill_group(process.pid)
            process.wait()
        self._running.clear()
        self.home.remove_temporary_sockets()
        if self._lock:
            self._lock.__exit__(None, None, None)
            self._lock = None

    def alive(self) -> bool:
        """Whether no server has died."""
        return all(process.poll() is None for _spec, process in self._running)

    def __enter__(self) -> Services:
        self.start()
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def _spawn(self, spec: Spec) -> None:
        with (self.home.logs / f"{spec.name}.log").open("ab") as log:
            self._running.append((spec, spawn(spec, log)))

    def _wait(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        servers = [server for server in (self.valkey, self.postgres) if server]
        while not all(server.answers() for server in servers):
            if not self.alive() or time.monotonic() > deadline:
                sentence = _("The embedded servers do not start: see the logs in {path}.")
                raise StartError(sentence.format(path=self.home.logs))
            time.sleep(0.02)
