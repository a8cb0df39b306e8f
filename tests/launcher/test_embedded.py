"""The embedded servers: reachable through their sockets only, in whatever folder they are asked to live."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from launcher import embedded
from launcher.embedded import Postgres
from launcher.errors import StartError
from launcher.home import MAX_SOCKET_DIRECTORY_BYTES, Home
from launcher.osuser import Account, can_enter, database_account
from launcher.secrets import Secrets
from launcher.services import Services

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


@pytest.fixture
def closed(folder: Path) -> Iterator[Path]:
    """A folder that only its owner can enter, with the shared place moved below the test's own."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    yield closed
    link = closed / "home" / "postgres"
    if link.is_symlink():
        shutil.rmtree(link.readlink().parent, ignore_errors=True)


@pytest.mark.slow
def test_both_servers_work_without_any_port_and_keep_what_they_are_given(folder: Path) -> None:
    with Services(folder / "home") as services:
        access = services.provision()
        with psycopg.connect(access.owner_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
            row = connection.execute(
                "SELECT current_setting('listen_addresses'), current_setting('fsync')"
            ).fetchone()
        client = redis.Redis.from_url(services.redis_url)
        client.set("kept", "yes")
        config = client.config_get("*")
        client.close()
    assert row == ("", "on")
    assert (config["port"], config["appendonly"], config["save"]) == ("0", "yes", "")
    assert (config["appendfsync"], config["maxmemory-policy"]) == ("everysec", "noeviction")
    with Services(folder / "home") as services:
        with psycopg.connect(services.provision().owner_url) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (42,)
        client = redis.Redis.from_url(services.redis_url)
        assert client.get("kept") == b"yes"
        client.close()


def test_valkey_wants_its_password(folder: Path) -> None:
    services = Services(folder / "home")
    services.start(postgres=False)
    try:
        assert services.valkey
        client = redis.Redis(unix_socket_path=str(services.valkey.socket), retry=None)
        with pytest.raises(redis.AuthenticationError):
            client.ping()
        client.close()
    finally:
        services.stop()


def test_a_deep_home_gets_its_sockets_in_a_short_folder_of_its_own(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60) / "home"
    services = Services(deep)
    services.start(postgres=False)
    try:
        assert services.valkey
        sockets = services.valkey.socket.parent
        assert len(os.fsencode(sockets)) <= MAX_SOCKET_DIRECTORY_BYTES
        assert sockets.stat().st_mode & 0o777 == 0o750
    finally:
        services.stop()
    assert not sockets.exists()


def test_a_socket_folder_that_somebody_else_has_made_is_refused(folder: Path) -> None:
    home = Home(folder / "home")
    home.create()
    (home.run / "sockets").mkdir()
    (home.run / "sockets").chmod(0o777)
    with pytest.raises(StartError, match="belongs to somebody else"):
        home.socket_directory(None)
    (home.run / "sockets").rmdir()
    (home.run / "sockets").symlink_to(folder)
    with pytest.raises(StartError, match="belongs to somebody else"):
        home.socket_directory(None)


@pytest.mark.slow
@as_root
def test_the_database_never_runs_as_root(folder: Path) -> None:
    services = Services(folder / "home", durable=False)
    services.start(valkey=False)
    try:
        account = database_account()
        assert account
        pid = int((folder / "home" / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{account.uid}\t{account.uid}\t{account.uid}\t{account.uid}" in status
        assert "Groups:\t \n" in status
    finally:
        services.stop()


@pytest.mark.slow
@as_root
def test_a_home_closed_to_others_stays_closed(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SHARED_FOLDERS", (closed.parent / "shared",))
    (closed.parent / "shared").mkdir(mode=0o711)
    services = Services(closed / "home", durable=False)
    services.start(valkey=False)
    try:
        assert services.provision()
    finally:
        services.stop()
    place = closed / "home" / "postgres"
    assert closed.stat().st_mode & 0o777 == 0o700
    assert place.is_symlink()
    assert place.readlink().is_relative_to(closed.parent / "shared")
    assert (place.readlink().parent / "belongs-to").read_text() == f"{closed / 'home'}\n"
    # The same files are found again.
    home = Home(closed / "home")
    assert Postgres.find(home, Secrets(home.secrets)).data == place.readlink()


def test_only_data_of_temporary_homes_that_are_gone_is_forgotten(folder: Path) -> None:
    shared = folder / "shared"
    homes = {"gone": folder / "gone", "there": folder, "unmounted": Path("/mnt/not/mounted/home")}
    for name, home in homes.items():
        (shared / f"data-{name}").mkdir(parents=True)
        (shared / f"data-{name}" / "belongs-to").write_text(f"{home}\n")
    embedded._forget_temporary_homes(shared)
    assert {path.name for path in shared.iterdir()} == {"data-there", "data-unmounted"}


@pytest.mark.slow
@as_root
def test_programs_that_others_cannot_reach_are_copied_once(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(embedded.package_folder(embedded.POSTGRES_PACKAGE))
    (closed / "venv").mkdir()
    shutil.copytree(package, closed / "venv" / package.name, symlinks=True)
    shutil.copytree(f"{package}.libs", closed / "venv" / f"{package.name}.libs")
    monkeypatch.setattr(embedded, "package_folder", lambda _package: closed / "venv" / package.name)
    monkeypatch.setattr(embedded, "SHARED_FOLDERS", (closed.parent / "shared",))
    account = database_account()
    binaries = embedded._binaries(account)
    assert binaries.is_relative_to(closed.parent / "shared")
    assert account
    assert can_enter(binaries, account)
    assert (binaries / "postgres").exists()
    made = binaries.stat().st_ino
    assert embedded._binaries(account).stat().st_ino == made


def test_who_may_enter_is_read_from_the_modes(folder: Path) -> None:
    stranger = Account("stranger", 54321, 54321)
    inner = folder / "inner"
    inner.mkdir(mode=0o711)
    assert can_enter(inner, stranger)
    inner.chmod(0o710)
    assert not can_enter(inner, stranger)
    assert can_enter(inner, Account("group", 54321, inner.stat().st_gid))
    assert can_enter(folder / "not" / "there", stranger)


def test_a_database_of_another_user_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(folder / "home")
    home.create()
    server = Postgres(folder, folder / "home" / "postgres", folder, "pw", None)
    server.data.mkdir()

    def refuse(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(
        StartError, match="belongs to another user: start Atrium as the user who started it first"
    ):
        server._configure(durable=True)


def test_a_failed_initdb_is_one_sentence_and_leaves_nothing(folder: Path) -> None:
    home = Home(folder / "home")
    home.create()
    (folder / "bin").mkdir()
    initdb = folder / "bin" / "initdb"
    initdb.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    initdb.chmod(0o755)
    server = Postgres(folder / "bin", home.path / "postgres", folder, "pw", None)
    with pytest.raises(StartError, match=r"could not make its files in .*: no space left on device"):
        server._initialise()
    assert not list(home.path.glob("postgres*"))
