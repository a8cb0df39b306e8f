"""Tenant scope: which rows the code in hand may see, in the ORM and in PostgreSQL alike.

Two walls stand behind one door (docs/adr/0002). Entering a scope sets a context variable, which the ORM's
managers read when SQL is compiled, and `app.tenant_id` inside the transaction, which row-level security
reads. With no scope the managers raise and PostgreSQL returns no row. Scopes are entered at a few doors
only (middleware, `TenantTask`, the websocket consumer, `manage.py … --tenant`); never `yield` from inside
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.models import BooleanField, F
from django.db.models.expressions import Func

log = structlog.get_logger(__name__)


class ScopeError(RuntimeError):
    """A tenant-owned table was asked for with no tenant set: a mistake of ours, never of the user."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be seen: one tenant's rows, or (platform) every tenant's; `user_id` opens one's own
    memberships."""

    tenant_id: UUID | None = None
    platform: bool = False
    user_id: UUID | None = None
    key_digest: str | None = None


_NOWHERE = Scope()
_scope: ContextVar[Scope] = ContextVar("atrium_scope", default=_NOWHERE)


def current_scope() -> Scope:
    """The scope in force; an empty one when no door was passed."""
    return _scope.get()


def current_tenant_id() -> UUID:
    """The active tenant. Raises ScopeError when there is none or the platform door is open."""
    tenant_id = _scope.get().tenant_id
    if tenant_id is None:
        raise ScopeError("no tenant is set: enter core.scoping.tenant_scope() first")
    return tenant_id


@contextmanager
def tenant_scope(tenant_id: UUID, *, user_id: UUID | None = None) -> Iterator[None]:
    """See and write one tenant's rows. Opens a transaction (a savepoint inside another): one round trip."""
    with _entered(Scope(tenant_id=tenant_id, user_id=user_id)):
        yield


@contextmanager
def user_scope(user_id: UUID) -> Iterator[None]:
    """See the memberships of one signed-in person and the tenants that they belong to, nothing else."""
    with _entered(Scope(user_id=user_id)):
        yield


@contextmanager
def key_scope(digest: str) -> Iterator[None]:
    """See the one API key whose digest is known: how a key finds its tenant before any tenant is set."""
    with _entered(Scope(key_digest=digest)):
        yield


@contextmanager
def platform_scope(reason: str) -> Iterator[None]:
    """The one door through which rows of all tenants are seen: `SET LOCAL ROLE` to the platform role.

    SECURITY: what a person does through this door is written to the audit trail by the caller
    (`audit.services.record_platform_access`); what the system does for itself names its `reason` here.
    """
    log.debug("platform_scope.entered", reason=reason)
    with _entered(Scope(platform=True)):
        yield


@contextmanager
def _entered(scope: Scope) -> Iterator[None]:
    before = _scope.get()
    connection = connections[DEFAULT_DB_ALIAS]
    nested = connection.in_atomic_block
    with transaction.atomic():
        _tell_database(scope, before)
        _scope.set(scope)
        try:
            yield
        finally:
            _scope.set(before)  # not reset(token): a generator may be closed from another context
        # Inside an outer transaction the settings outlive a released savepoint: put them back. A rollback,
        # to the savepoint or of everything, puts them back by itself, as does the end of the transaction.
        if nested and not connection.needs_rollback:
            _tell_database(before, scope)


def _tell_database(scope: Scope, before: Scope) -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        if before.platform and not scope.platform:
            cursor.execute("SET LOCAL ROLE NONE")
        cursor.execute(
            "SELECT set_config('app.tenant_id', %s, true), set_config('app.user_id', %s, true),"
            " set_config('app.key_digest', %s, true)",
            [str(scope.tenant_id or ""), str(scope.user_id or ""), scope.key_digest or ""],
        )
        if scope.platform and not before.platform:
            cursor.execute(f'SET LOCAL ROLE "{settings.DATABASE_PLATFORM_ROLE}"')


class InScope(Func):
    """True for rows of the active tenant; decided when SQL is compiled, so class-level querysets are safe.

    Raises ScopeError at compile time when no scope is active (fails closed on every verb).
    """

    output_field = BooleanField()
    conditional = True

    def __init__(self, tenant: str = "tenant_id") -> None:
        super().__init__(F(tenant))

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, tuple[Any, ...]]:  # type: ignore[override]
        """Compile to a comparison with the active tenant, or to TRUE behind the platform door."""
        scope = _scope.get()
        if scope.platform:
            return "TRUE", ()
        sql, params = compiler.compile(self.source_expressions[0])
        return f"{sql} = %s", (*params, current_tenant_id())


class SharedInScope(InScope):
    """As InScope, but platform-owned and shared rows pass too: PostgreSQL's own policy decides which."""

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, tuple[Any, ...]]:  # type: ignore[override]
        """Compile to TRUE inside a scope; raise outside one."""
        if not _scope.get().platform:
            current_tenant_id()
        return "TRUE", ()


class TenantQuerySet(models.QuerySet[Any]):
    """Rows of a tenant-owned model. What a condition cannot hold back is looked at here: rows that are inserted, and
    foreign keys that are set."""

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Insert many; raises ScopeError if one of them, or a row that one points to, is another tenant's."""
        from core.models import refuse_foreign_rows  # the models stand on the managers of this module

        rows = list(objs)
        refuse_foreign_rows(rows)
        return super().bulk_create(rows, *args, **kwargs)

    def bulk_update(self, objs: Iterable[Any], fields: Iterable[str], *args: Any, **kwargs: Any) -> int:
        """Change many; raises ScopeError as `bulk_create` does, and for a foreign key to a walled table: Django
        turns those into expressions, which `update` refuses. Save such rows one by one."""
        from core.models import refuse_foreign_rows

        rows, names = list(objs), list(fields)
        refuse_foreign_rows(rows, only=names)
        return super().bulk_update(rows, names, *args, **kwargs)

    def update(self, **values: Any) -> int:
        """Change all; raises ScopeError if a foreign key would name another tenant's row.

        Costs one query for each foreign key to a walled table that is set, two behind the platform door.
        """
        from core.models import refuse_foreign_values

        refuse_foreign_values(self, values)
        return super().update(**values)


class TenantManager(models.Manager[Any]):
    """Manager of a tenant-owned model: rows of the active tenant, or an error.

    `TenantManager.from_queryset(…)` takes querysets that derive from TenantQuerySet.
    """

    _queryset_class = TenantQuerySet

    def get_queryset(self) -> models.QuerySet[Any]:
        """All rows in scope."""
        return super().get_queryset().filter(InScope())


class SharedManager(models.Manager[Any]):
    """Manager of a model whose rows may be shared between tenants: an error without a scope."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """All rows that the database's policy shows to the active tenant."""
        return super().get_queryset().filter(SharedInScope("pk"))
