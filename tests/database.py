"""The tests' databases: one template, migrated once as the owner, and a copy of it for every test process.

Tests connect as the servers do, as a role that row-level security binds. What only the owner may do
(emptying tables between tests, taking a wall down to see a test fail) goes through connections of its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
import psycopg
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from launcher import database as provisioning
from launcher.database import OWNER, RUNTIME, provision
from launcher.embedded import POSTGRES_INSTALLATION, POSTGRES_PACKAGE, package_folder

# Filled by migrations and their signals; everything else is emptied between tests that commit.
KEPT_TABLES = frozenset({"django_migrations", "django_content_type", "auth_permission"})

# What the migrations made last time, by the fingerprint of everything that it follows from.
KEPT_SCHEMAS = Path(__file__).resolve().parent.parent / ".test-schemas"

Connection = psycopg.Connection[tuple[Any, ...]]


def admin_url() -> str:
    """A role that may make databases, at the server of DATABASE_URL (tests/services.py sets it)."""
    return os.environ["DATABASE_ADMIN_URL"]


def prepare(name: str) -> None:
    """Make the database `name` out of the template, and point both connections at it. 0.1 s, first time 3
    s."""
    template = f"atrium_template_{_fingerprint()}"
    with psycopg.connect(admin_url(), autocommit=True) as admin:
        # Test processes start together: the first one makes the template, the others wait.
        admin.execute("SELECT pg_advisory_lock(hashtext('atrium tests'))")
        if not _exists(admin, template):
            _make_template(admin, template)
        drop(name)
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        _grant(admin, name)
    _use(name)


def drop(name: str) -> None:
    """Remove a test database, whoever is still connected to it."""
    if (kept := _admins.pop(name, None)) is not None:
        kept.close()
    with psycopg.connect(admin_url(), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def as_runtime() -> Iterator[Connection]:
    """A connection of the application's role, outside Django: what an attacker with SQL would have."""
    with _connected("default") as connection:
        yield connection


@contextmanager
def as_owner() -> Iterator[Connection]:
    """A connection of the tables' owner."""
    with _connected("owner") as connection:
        yield connection


def empty_tables() -> None:
    """Remove all rows but those of migrations: the application's role may not. Cost: a few ms, a tenth of what TRUNCATE
    of all takes: only tables that have ever had rows are looked at, partitions each by itself."""
    admin = _admin(connections["default"].settings_dict["NAME"])
    if admin is not None:
        used = admin.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND pg_relation_size(oid) > 0"
        ).fetchall()
        deletes = (
            sql.SQL("DELETE FROM {}").format(sql.Identifier(name))
            for (name,) in used
            if name not in KEPT_TABLES
        )
        admin.execute(sql.SQL("; ").join(deletes))
        return
    with as_owner() as owner:
        tables = owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
        names = (sql.Identifier(name) for (name,) in tables if name not in KEPT_TABLES)
        # One statement, so that no order of foreign keys matters.
        owner.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)))


_admins: dict[str, Connection] = {}


def _admin(name: str) -> Connection | None:
    """A connection for which neither the order of foreign keys nor the guards of append-only tables matter; None where
    the role of DATABASE_ADMIN_URL may not have one. It is kept: connecting takes longer than emptying."""
    if name in _admins:
        return _admins[name]
    admin = psycopg.connect(admin_url(), dbname=name, autocommit=True)
    try:
        admin.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        admin.close()
        return None
    _admins[name] = admin
    return admin


def _make_template(admin: Connection, template: str) -> None:
    building = f"{template}_building"
    drop(building)
    kept = KEPT_SCHEMAS / f"{template}.sql"
    if not (kept.exists() and _restore(admin, building, kept)):
        drop(building)
        provision(admin_url(), _passwords(), database=building)
        _use(building)
        try:
            call_command("migrate", database="owner", verbosity=0, interactive=False)
        finally:
            disconnect()
        _keep(building, kept)
    admin.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(building), sql.Identifier(template))
    )


def _keep(name: str, kept: Path) -> None:
    """Write down what the migrations have made, for the next run; not where there is no pg_dump for this server."""
    command = [_program("pg_dump"), "--no-sync", "--dbname", _url_of(name)]
    written = subprocess.run(command, capture_output=True, check=False)
    if written.returncode == 0:
        KEPT_SCHEMAS.mkdir(exist_ok=True)
        for old in KEPT_SCHEMAS.glob("*.sql"):
            old.unlink(missing_ok=True)
        kept.with_suffix(".new").write_bytes(written.stdout)
        kept.with_suffix(".new").replace(kept)


def _restore(admin: Connection, name: str, kept: Path) -> bool:
    """Make a database as it was written down: in a second, where the migrations take ten."""
    admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    options = ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction", f"--file={kept}"]
    command = [_program("psql"), *options, f"--dbname={_url_of(name)}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _program(name: str) -> str:
    """One of PostgreSQL's own, from the package that the embedded server comes from."""
    return str(package_folder(POSTGRES_PACKAGE) / POSTGRES_INSTALLATION / "bin" / name)


def _url_of(name: str) -> str:
    return urlsplit(admin_url())._replace(path=f"/{name}").geturl()


def _use(name: str) -> None:
    disconnect()
    for alias in ("default", "owner"):
        connections[alias].settings_dict["NAME"] = name
        connections.settings[alias]["NAME"] = name


def disconnect() -> None:
    """Close both connections and their pools, so that the database can be copied, renamed or dropped."""
    for alias in ("default", "owner"):
        connections[alias].close()
        connections[alias].close_pool()


@contextmanager
def _connected(alias: str) -> Iterator[Connection]:
    given = connections[alias].get_connection_params()
    parameters = {
        name: given[name] for name in ("dbname", "user", "password", "host", "port") if name in given
    }
    with psycopg.connect(**parameters) as connection:
        yield connection


def _grant(admin: Connection, name: str) -> None:
    """Rights on a database are not copied with it; those inside it are."""
    for role in (OWNER, RUNTIME):
        admin.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(name), sql.Identifier(role))
        )


def _exists(admin: Connection, name: str) -> bool:
    return admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def _passwords() -> dict[str, str]:
    urls = {RUNTIME: os.environ["DATABASE_URL"], OWNER: os.environ["DATABASE_OWNER_URL"]}
    return {role: urlsplit(url).password or "" for role, url in urls.items()}


def _fingerprint() -> str:
    """Changes when a migration or the code that migrations use does."""
    digest = hashlib.sha256()
    for config in sorted(apps.get_app_configs(), key=lambda config: config.label):
        digest.update(config.label.encode())
        for file in sorted(Path(config.path, "migrations").glob("*.py")):
            digest.update(file.read_bytes())
    core = Path(apps.get_app_config("core").path)
    for file in (core / "rls.py", core / "partitions.py", Path(provisioning.__file__)):
        digest.update(file.read_bytes())
    # Partitions are made for the months around today.
    digest.update(
        f"{datetime.now(UTC):%Y-%m} {django.VERSION} {version(POSTGRES_PACKAGE.replace('_', '-'))}".encode()
    )
    digest.update(settings.DATABASE_RUNTIME_ROLE.encode() + settings.DATABASE_PLATFORM_ROLE.encode())
    return digest.hexdigest()[:12]
