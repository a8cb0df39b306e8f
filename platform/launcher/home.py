"""ATRIUM_HOME: where all state of one installation lives, and the lock that makes it one at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from launcher.errors import StartError
from launcher.osuser import Account, can_enter
from launcher.progress import _

# A unix socket's path may have 107 bytes; PostgreSQL adds "/.s.PGSQL.5432" to its directory.
MAX_SOCKET_DIRECTORY_BYTES = 107 - len("/.s.PGSQL.5432")


@dataclass(frozen=True)
class Home:
    """The folders and files of one installation. Only `create` touches the disk."""

    path: Path

    @property
    def logs(self) -> Path:
        """One file per child."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """What is true only while the platform runs: the lock, the sockets, the list of children."""
        return self.path / "run"

    @property
    def secrets(self) -> Path:
        """One file per secret, mode 0600."""
        return self.path / "secrets"

    @property
    def prepared(self) -> Path:
        """What `manage.py prepare` created: demo tenants, sign-ins, keys, models. Mode 0600."""
        return self.path / "prepared.json"

    @property
    def ready(self) -> Path:
        """There while everything serves; for programs. Mode 0600: it holds the demo keys."""
        return self.path / "ready.json"

    @property
    def environment(self) -> Path:
        """The servers' environment as shell lines, for `manage.py` commands beside a running platform."""
        return self.path / "run" / "environment"

    @property
    def access(self) -> Path:
        """Connection URLs on their way from the provisioning step to the supervisor; gone a moment later."""
        return self.path / "run" / "access.json"

    @property
    def children(self) -> Path:
        """Process ids of the children, for the next start should this one be killed."""
        return self.path / "run" / "children.json"

    def create(self) -> None:
        """Make the folders. As root, others may pass through (not list): PostgreSQL runs as another user."""
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            for folder in (self.path, self.logs, self.run, self.secrets):
                folder.mkdir(parents=True, exist_ok=True)
            self.path.chmod(mode)
            self.run.chmod(mode)
            self.logs.chmod(0o700)
            self.secrets.chmod(0o700)
        except OSError as error:
            sentence = _("{path} cannot be written ({reason}): set ATRIUM_HOME to a folder of your own.")
            raise StartError(sentence.format(path=self.path, reason=error.strerror)) from None

    def lock(self) -> TextIO:
        """Hold this home for as long as the returned file is open. A killed holder lets go by itself."""
        handle = (self.run / "lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with handle:
                handle.seek(0)
                holder = handle.read().strip() or "?"
            sentence = _(
                "Atrium already runs in {path} (process {pid}): stop it first, or set ATRIUM_HOME and PORT."
            )
            raise StartError(sentence.format(path=self.path, pid=holder)) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        return handle

    def socket_directory(self, account: Account | None) -> Path:
        """A folder for unix sockets that is short enough and that `account` can enter.

        `run/` where that will do, otherwise a folder of this home's own under the system's temporary one.
        """
        if _fits(self.run) and (account is None or can_enter(self.run, account)):
            folder = self.run / "sockets"
            if not _fits(folder):
                folder = self.run
        else:
            folder = next(filter(_fits, self._temporary_sockets()))
        return _private_folder(folder, account)

    def remove_temporary_sockets(self) -> None:
        """Take away the folder that `socket_directory` may have made outside of the home, after the servers' end."""
        for folder in self._temporary_sockets():
            shutil.rmtree(folder, ignore_errors=True)

    def _temporary_sockets(self) -> list[Path]:
        name = f"atrium-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:10]}"
        return [Path(base) / name for base in (tempfile.gettempdir(), "/tmp")]  # noqa: S108


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= MAX_SOCKET_DIRECTORY_BYTES


def _private_folder(folder: Path, account: Account | None) -> Path:
    """Make the folder for the account alone (0750). Refuses one that somebody else has put there."""
    folder.mkdir(mode=0o750, exist_ok=True)
    status = folder.lstat()
    owners = {os.geteuid(), account.uid if account else os.geteuid()}
    # SECURITY: in a shared temporary folder another user could have made it first, or a link in its place.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners or status.st_mode & 0o022:
        sentence = _("{path} belongs to somebody else: remove it, or set TMPDIR to a folder of your own.")
        raise StartError(sentence.format(path=folder))
    folder.chmod(0o750)
    if account:
        os.chown(folder, account.uid, account.gid)
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all of it or nothing, never seen half-written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """What the file holds, or None when it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def parse_environment(lines: Iterable[str]) -> dict[str, str]:
    """Variables out of shell lines, as the supervisor writes them (`NAME='value'`)."""
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: "".join(shlex.split(value)) for name, _separator, value in pairs}


def join_running_platform() -> None:
    """Let a `manage.py` command speak to the platform that runs in ATRIUM_HOME, unless it is told otherwise.

    What the environment says already stays. Does nothing when no platform runs there.
    """
    if "DATABASE_URL" in os.environ or "DATABASE_URL_FILE" in os.environ:
        return
    default = Path(__file__).resolve().parents[2] / ".atrium"
    home = Home(Path(os.environ.get("ATRIUM_HOME") or default).expanduser().absolute())
    try:
        lines = home.environment.read_text().splitlines()
    except OSError:
        return
    for name, value in parse_environment(lines).items():
        os.environ.setdefault(name, value)
