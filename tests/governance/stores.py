"""Everything that a server writes to, searched for a text: all tables as superuser, all of Valkey, all files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import sql

from core.valkey import sync_client
from tests.database import admin_url

# PostgreSQL's and Valkey's own files: old versions of rows stay there until VACUUM and until the logs are rewritten
# (docs/adr/0022).
ENGINE_FOLDERS = {"postgres", "valkey", "pgdata", "run"}


def tables_with(text: str) -> dict[str, int]:
    """Table -> rows in which the text stands anywhere, plain, as JSON escapes, or as bytes."""
    database = connections["default"].settings_dict["NAME"]
    found = {}
    with psycopg.connect(admin_url(), dbname=database) as admin:
        tables = admin.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
        ).fetchall()
        for schema, name in tables:
            query = sql.SQL("SELECT count(*) FROM {} t WHERE t::text LIKE %s OR t::text LIKE %s").format(
                sql.Identifier(schema, name)
            )
            (count,) = admin.execute(query, [f"%{text}%", f"%{text.encode().hex()}%"]).fetchone() or (0,)
            if count:
                found[name] = count
    return found


def rows_of(tenant_id: Any) -> dict[str, int]:
    """Table -> rows of a tenant, of all tables with such a column."""
    database = connections["default"].settings_dict["NAME"]
    found = {}
    with psycopg.connect(admin_url(), dbname=database) as admin:
        tables = admin.execute(
            "SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " AND a.attname = 'tenant_id' AND NOT a.attisdropped"
        ).fetchall()
        for (name,) in tables:
            query = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(sql.Identifier(name))
            (count,) = admin.execute(query, [tenant_id]).fetchone() or (0,)
            if count:
                found[name] = count
    return found


def keys_with(text: str) -> set[str]:
    """Names of Valkey keys in whose name or value the text stands."""
    valkey: Any = sync_client()
    wanted = text.encode()
    found = set()
    for key in valkey.scan_iter(count=1_000):
        if wanted in key or wanted in _dumped(valkey, key):
            found.add(key.decode())
    return found


def _dumped(valkey: Any, key: bytes) -> bytes:
    kind = valkey.type(key).decode()
    readers: dict[str, Any] = {
        "none": lambda: b"",  # it has expired meanwhile
        "string": lambda: valkey.get(key),
        "hash": lambda: valkey.hgetall(key),
        "list": lambda: valkey.lrange(key, 0, -1),
        "set": lambda: valkey.smembers(key),
        "zset": lambda: valkey.zrange(key, 0, -1),
        "stream": lambda: valkey.xrange(key),
    }
    value = readers[kind]()
    return b"\x00".join(_bytes(value))


def _bytes(value: Any) -> list[bytes]:
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, dict):
        return [part for pair in value.items() for item in pair for part in _bytes(item)]
    if isinstance(value, list | tuple | set):
        return [part for item in value for part in _bytes(item)]
    return [str(value).encode()]


def files_with(text: str, *folders: Path) -> set[str]:
    """Files below ATRIUM_HOME and `folders` in whose name or contents the text stands."""
    wanted = re.compile(re.escape(text.encode()))
    found = set()
    for root in (Path(settings.ATRIUM_HOME), *folders):
        for file in root.rglob("*"):
            if ENGINE_FOLDERS & set(file.relative_to(root).parts) or not file.is_file():
                continue
            if text in str(file) or wanted.search(file.read_bytes()):
                found.add(str(file.relative_to(root)))
    return found
