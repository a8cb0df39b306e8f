"""Roles, database and privileges, the same in the embedded PostgreSQL, in a given one and in the tests.

- `atrium_owner` owns the schema and runs the migrations; no server process ever gets its password.
- `atrium_app` is what the servers connect as: it may read and write rows, owns nothing, and row-level security
  binds it.
- `atrium_platform` cannot log in; `atrium_app` may become it (`SET LOCAL ROLE`) in the one audited place where
  platform staff read across tenants, and does not inherit what its policies allow.

Everything here can be run again at every start. Privileges on tables come as default privileges, so that a
migration that takes one away (append-only tables) is not undone by the next start.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import errors, sql

from launcher.access import OWNER, PLATFORM, RUNTIME, Access
from launcher.errors import StartError
from launcher.progress import _

__all__ = ["OWNER", "PLATFORM", "RUNTIME", "Access", "external", "provision", "with_database"]

MINIMUM_VERSION = 160000  # GRANT … WITH INHERIT FALSE, SET TRUE

Connection = psycopg.Connection[tuple[Any, ...]]


def provision(admin_url: str, passwords: Mapping[str, str], *, database: str | None = None) -> Access:
    """Make roles, database and privileges through a role that may; `passwords` has those of OWNER and RUNTIME.

    Without `database` the one that the URL names is used, otherwise that one is made. Idempotent; about 50 ms
    when nothing is to be done.
    """
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as connection:
        _require_version(connection)
        _make_roles(connection, passwords)
        if database:
            _make_database(connection, database)
        name = database or connection.info.dbname
    target = with_database(admin_url, name)
    with psycopg.connect(target, autocommit=True, connect_timeout=10) as connection:
        _grant(connection, name)
    return Access(*(_with_login(target, role, passwords[role]) for role in (RUNTIME, OWNER)))


def external(url: str, owner_url: str, passwords: Mapping[str, str]) -> Access:
    """Access to a PostgreSQL that was given: made by `url`'s role if it may make roles, otherwise as given."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            _require_version(connection)
            row = connection.execute(
                "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            may_create_roles = bool(row and row[0])
        if owner_url:
            access = Access(url, owner_url)
        elif may_create_roles:
            access = provision(url, passwords)
        else:
            raise StartError(
                _(
                    "DATABASE_URL's role can neither create roles nor migrate: give the owner of the tables with "
                    "DATABASE_OWNER_URL, or a role with CREATEROLE in DATABASE_URL."
                )
            )
        _require_bound(access)
    except psycopg.OperationalError as error:
        sentence = _(
            "The database of DATABASE_URL cannot be reached ({reason}): check the address and the password."
        )
        raise StartError(sentence.format(reason=str(error).strip().splitlines()[0].strip())) from None
    except errors.InsufficientPrivilege as error:
        sentence = _(
            "DATABASE_URL's role lacks a privilege that Atrium needs ({reason}): give it, or DATABASE_OWNER_URL."
        )
        raise StartError(sentence.format(reason=str(error).strip().splitlines()[0])) from None
    return access


def with_database(url: str, name: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _with_login(url: str, role: str, password: str) -> str:
    parts = urlsplit(url)
    server = parts.netloc.rpartition("@")[2]
    # Our passwords are URL-safe by construction.
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{server}"))


def _require_version(connection: Connection) -> None:
    if connection.info.server_version < MINIMUM_VERSION:
        sentence = _("PostgreSQL {version} is too old: Atrium needs 16 or newer.")
        raise StartError(sentence.format(version=connection.info.server_version // 10000))


def _make_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    for role, login in ((OWNER, True), (RUNTIME, True), (PLATFORM, False)):
        name = sql.Identifier(role)
        if not _one(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
            attributes = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            kind = sql.SQL("LOGIN" if login else "NOLOGIN")
            connection.execute(sql.SQL("CREATE ROLE {} {} ").format(name, kind) + sql.SQL(attributes))
        if login and not _logs_in(connection, role, passwords[role]):
            # Hashed here, so that the password itself is in no statement and no server log.
            password = connection.pgconn.encrypt_password(
                passwords[role].encode(), role.encode(), b"scram-sha-256"
            )
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(password.decode()))
            )
    # The owner's tables are made and its database handed over by whoever provisions.
    _execute(connection, "GRANT {} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE", OWNER)
    _execute(connection, "GRANT {} TO {} WITH INHERIT FALSE, SET TRUE", PLATFORM, RUNTIME)


def _make_database(connection: Connection, database: str) -> None:
    if not _one(connection, "SELECT 1 FROM pg_database WHERE datname = %s", database):
        _execute(connection, "CREATE DATABASE {} OWNER {}", database, OWNER)


def _grant(connection: Connection, database: str) -> None:
    for statement, *names in (
        ("REVOKE ALL ON DATABASE {} FROM PUBLIC", database),
        ("GRANT ALL ON DATABASE {} TO {}", database, OWNER),
        ("GRANT CONNECT ON DATABASE {} TO {}", database, RUNTIME),
        ("REVOKE ALL ON SCHEMA public FROM PUBLIC",),
        ("GRANT CREATE, USAGE ON SCHEMA public TO {}", OWNER),
        ("GRANT USAGE ON SCHEMA public TO {}, {}", RUNTIME, PLATFORM),
    ):
        _execute(connection, statement, *names)
    for privileges in ("SELECT, INSERT, UPDATE, DELETE ON TABLES", "USAGE, SELECT ON SEQUENCES"):
        statement = "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public GRANT " + privileges + " TO {}, {}"
        _execute(connection, statement, OWNER, RUNTIME, PLATFORM)
    # Where it cannot be had, what needs vectors says so later, in a sentence of its own.
    with contextlib.suppress(errors.FeatureNotSupported, errors.UndefinedFile, errors.InsufficientPrivilege):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


def _require_bound(access: Access) -> None:
    """Refuse a runtime role that row-level security would not bind."""
    with psycopg.connect(access.runtime_url, connect_timeout=10) as connection:
        row = connection.execute(
            "SELECT rolsuper OR rolbypassrls, rolname FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        runtime = connection.info.user
        if row and row[0]:
            sentence = _("The role {role} bypasses row-level security: give DATABASE_URL an ordinary role.")
            raise StartError(sentence.format(role=runtime))
    with psycopg.connect(access.owner_url, connect_timeout=10) as connection:
        if connection.info.user == runtime:
            sentence = _(
                "DATABASE_URL and DATABASE_OWNER_URL name the same role {role}: the servers need one that owns nothing."
            )
            raise StartError(sentence.format(role=runtime))


def _logs_in(connection: Connection, role: str, password: str) -> bool:
    """Whether the role's password is this one already: then nothing is written, and no replica sees a change."""
    info = connection.info
    try:
        psycopg.connect(
            host=info.host,
            port=info.port,
            dbname=info.dbname,
            user=role,
            password=password,
            connect_timeout=5,
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def _one(connection: Connection, query: LiteralString, *parameters: object) -> bool:
    return connection.execute(query, parameters).fetchone() is not None


def _execute(connection: Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
