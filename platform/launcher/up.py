"""`launcher up`: bring everything up, keep it up, take it down again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import shutil
import signal
import socket
from collections.abc import Mapping

from launcher import stack
from launcher.access import DATABASE, OWNER, RUNTIME, Access, role_passwords
from launcher.embedded import Postgres, Valkey
from launcher.errors import StartError
from launcher.home import Home, read_json, write_private
from launcher.progress import Progress, _
from launcher.ready import Readiness
from launcher.secrets import Secrets
from launcher.settings import Settings
from launcher.supervisor import Supervisor, end_leftovers

MINIMUM_FREE_BYTES = 500_000_000
SERVERS_WITHIN_S = 60.0
# A second Ctrl-C means "now"; one that comes with the first (make passes signals on) does not.
HURRY_AFTER_S = 0.7


class Platform:
    """One run of the platform, from the first check to the last child's end."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self.progress = progress
        self.home = Home(settings.home)
        self.secrets = Secrets(self.home.secrets)
        self.supervisor = Supervisor(self.home, progress)
        self.readiness = Readiness(self.home, settings.host, settings.port, self.supervisor, progress)
        self.supervisor.on_change = self.readiness.write
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stop_asked_at = 0.0

    async def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises StartError when it cannot come up; all children are gone at return."""
        self._listen()
        coming_up = asyncio.ensure_future(self._come_up())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({coming_up, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if coming_up.done():
                coming_up.result()
                await stopping
        finally:
            self.readiness.withdraw()
            stopping.cancel()
            coming_up.cancel()
            with contextlib.suppress(asyncio.CancelledError, StartError):
                await coming_up
            started = bool(self.supervisor.children)
            if started:
                self.progress.line(_("stopping"))
            await self.supervisor.stop(self._hurry)
            self.home.environment.unlink(missing_ok=True)
            self.home.remove_temporary_sockets()
            if started:
                self.progress.line(_("stopped"))

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        # nohup ignores SIGHUP on purpose. A shell without job control ignores SIGINT for all that it starts with
        # "&": who sends it to us by hand means us all the same.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._stop.is_set() and now - self._stop_asked_at > HURRY_AFTER_S:
            self._hurry.set()
        if not self._stop.is_set():
            self._stop_asked_at = now
            self._stop.set()

    # --- coming up --------------------------------------------------------------------------------------------
    async def _come_up(self) -> None:
        require_disk(self.home)
        require_port(self.settings.host, self.settings.port)
        valkey = self._start_valkey()
        access = self._start_postgres()
        if access is None:  # a given server: only the provisioning tells how to connect
            access = await self._provision()
        redis_url = valkey.url if valkey else self.settings.redis_url
        secrets = self.secrets.server_environment()
        environment = stack.server_environment(self.settings, access, redis_url, secrets)
        # First of all: importing vLLM takes longer than everything up to the moment when it is needed.
        self.supervisor.start(stack.engine_spec(self.settings, environment))
        if not self.settings.database_url:
            await self._provision()
        if valkey:
            await self._until_answers(valkey)
        self.progress.line(_("PostgreSQL and Valkey are there"))
        self._write_environment(environment)
        await self._prepare(environment, access)
        for spec in stack.server_specs(self.settings, environment):
            self.supervisor.start(spec)
        await self.readiness.wait(with_models=self.settings.engine != "none")
        self.readiness.announce()

    def _start_valkey(self) -> Valkey | None:
        if self.settings.redis_url:
            return None
        valkey = Valkey.prepare(self.home, self.secrets)
        self.supervisor.start(valkey.spec())
        return valkey

    def _start_postgres(self) -> Access | None:
        """Start the embedded server; how to connect is known before it even runs. None for a given server."""
        if self.settings.database_url:
            return None
        if not (self.home.path / "postgres").exists():
            self.progress.line(_("making the database"))
        postgres = Postgres.prepare(self.home, self.secrets)
        self.supervisor.start(postgres.spec())
        passwords = role_passwords(self.secrets)
        return Access(*(postgres.url(role, passwords[role], DATABASE) for role in (RUNTIME, OWNER)))

    async def _provision(self) -> Access:
        """Have roles and database made; returns how to connect."""
        status = await self.supervisor.run(stack.provision_spec(self.settings))
        if status:
            # What the step says last is a sentence of its own, or the end of a traceback.
            raise StartError(self.supervisor.log_tail("provision"))
        access = read_json(self.home.access)
        self.home.access.unlink(missing_ok=True)
        return Access(**access)

    async def _until_answers(self, valkey: Valkey) -> None:
        deadline = self.progress.elapsed() + SERVERS_WITHIN_S
        while not valkey.answers():
            child = self.supervisor.children["valkey"]
            if child.young_deaths >= 3 or self.progress.elapsed() > deadline:
                sentence = _("{name} does not start ({reason}): see {log}.")
                reason, log = self.supervisor.log_tail("valkey"), self.supervisor.log_path("valkey")
                raise StartError(sentence.format(name="valkey", reason=reason, log=log))
            await asyncio.sleep(0.02)

    async def _prepare(self, environment: Mapping[str, str], access: Access) -> None:
        status = await self.supervisor.run(stack.prepare_spec(environment, access, self.home.prepared))
        if status:
            sentence = _("The database could not be prepared ({reason}): see {log}.")
            log = self.supervisor.log_path("prepare")
            raise StartError(sentence.format(reason=self.supervisor.log_tail("prepare"), log=log))
        with contextlib.suppress(OSError):
            self.home.prepared.chmod(0o600)
        self.progress.line(_("database prepared"))

    def _write_environment(self, environment: Mapping[str, str]) -> None:
        """For commands beside the running platform: only what differs from the surroundings."""
        lines = [
            f"{name}={shlex.quote(value)}"
            for name, value in sorted(environment.items())
            if os.environ.get(name) != value and name != "PATH"
        ]
        write_private(self.home.environment, "\n".join(lines) + "\n")


def require_port(host: str, port: int) -> None:
    """Refuse a port that is taken, in one sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                sentence = _(
                    "Port {port} is taken by another program: stop it, or choose another with make run PORT={other}."
                )
                raise StartError(
                    sentence.format(port=port, other=port + 1 if port < 65535 else 8000)
                ) from None
            sentence = _(
                "Port {port} at {host} cannot be opened ({reason}): choose other ones with PORT and HOST."
            )
            raise StartError(sentence.format(port=port, host=host, reason=error.strerror)) from None


def require_disk(home: Home) -> None:
    """Refuse to start a database on a disk that is as good as full."""
    free = shutil.disk_usage(home.path).free
    if free < MINIMUM_FREE_BYTES:
        sentence = _("The disk of {path} has {free} MB left and Atrium needs {need} to start: free some.")
        text = sentence.format(path=home.path, free=free // 1_000_000, need=MINIMUM_FREE_BYTES // 1_000_000)
        raise StartError(text)


async def _up(settings: Settings, progress: Progress) -> None:
    await Platform(settings, progress).run()


def up(settings: Settings) -> int:
    """Run the platform until it is told to stop; returns the exit status."""
    progress = Progress()
    home = Home(settings.home)
    try:
        home.create()
        with home.lock():
            home.ready.unlink(missing_ok=True)
            end_leftovers(home)
            asyncio.run(_up(settings, progress))
    except StartError as error:
        progress.fail(str(error))
        return 1
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}:
            raise
        sentence = _("{path} cannot be written ({reason}): set ATRIUM_HOME to a folder of your own.")
        progress.fail(sentence.format(path=error.filename or home.path, reason=error.strerror))
        return 1
    return 0
