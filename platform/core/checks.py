"""System checks that hold the walls up: every table of ours declares a scope, and PostgreSQL enforces it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import Error, Tags, register
from django.db import connections, models

WALLED = ("tenant", "shared")


def is_ours(model: type[models.Model]) -> bool:
    """True for models of this project's own apps."""
    return model.__module__.split(".")[0] in settings.OWN_APPS


def own_models(*scopes: str) -> list[type[models.Model]]:
    """The project's concrete models with one of `scopes` (all, when none is named)."""
    return [
        model
        for model in apps.get_models(include_auto_created=True)
        if is_ours(model) and (not scopes or getattr(model, "tenant_scope", "global") in scopes)
    ]


@register(Tags.models)
def tenant_columns_are_declared(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Iterable[Error]:
    """atrium.E001: a model with a `tenant` column cannot call itself global."""
    for model in own_models("global"):
        if any(field.name == "tenant" for field in model._meta.concrete_fields):
            yield Error(
                f"{model.__name__} has a tenant column but declares tenant_scope = 'global'.",
                hint="Derive it from core.models.TenantOwned, or declare 'shared' with policies of its own.",
                obj=model,
                id="atrium.E001",
            )


@register(Tags.database)
def walls_stand(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **_: Any
) -> Iterable[Error]:
    """atrium.E002–E004: forced row-level security on every walled table, and a runtime role bound by it."""
    for alias in databases or ():
        with connections[alias].cursor() as cursor:
            yield from _role_errors(cursor, alias)
            cursor.execute(
                "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,"
                " EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)"
                " FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
            )
            walls = {name: (enabled, forced, policy) for name, enabled, forced, policy in cursor.fetchall()}
            cursor.execute(
                "SELECT parent.relname, child.relname FROM pg_inherits"
                " JOIN pg_class parent ON parent.oid = inhparent JOIN pg_class child ON child.oid = inhrelid"
                " WHERE parent.relkind = 'p' AND child.relkind IN ('r', 'p')"
            )
            partitions: dict[str, list[str]] = {}
            for parent, child in cursor.fetchall():
                partitions.setdefault(parent, []).append(child)
        for model in own_models(*WALLED):
            # A partition can be asked by its own name, past the wall of the table that it is a part of.
            for table in (model._meta.db_table, *partitions.get(model._meta.db_table, ())):
                if table in walls and not all(walls[table]):
                    yield Error(
                        f"Table {table} holds tenants' rows without forced row-level security.",
                        hint="Add core.rls.EnableRowLevelSecurity to the app's migrations.",
                        obj=model,
                        id="atrium.E002",
                    )


def _role_errors(cursor: Any, alias: str) -> Iterable[Error]:
    if alias != "default":
        return
    cursor.execute("SELECT rolsuper, rolbypassrls, rolname FROM pg_roles WHERE rolname = current_user")
    superuser, bypass, name = cursor.fetchone()
    if superuser or bypass:
        yield Error(
            f"The application connects as {name}, a role that row-level security does not bind.",
            hint="Connect as a role that is neither superuser nor BYPASSRLS (`make run` sets one up).",
            id="atrium.E003",
        )
    cursor.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND pg_get_userbyid(relowner) = current_user AND relkind IN ('r', 'p')"
    )
    if cursor.fetchone()[0]:
        yield Error(
            f"The application connects as {name}, which owns tables: an owner can take its walls down.",
            hint="Run migrations as another role (DATABASE_OWNER_URL) than the application's (DATABASE_URL).",
            id="atrium.E004",
        )
