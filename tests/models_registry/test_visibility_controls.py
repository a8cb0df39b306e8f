"""Each part of the registry's walls, taken down in a transaction that is rolled back: what it held is then lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from pytest_django.plugin import DjangoDbBlocker

from models_registry.models import Model
from tenants.models import Tenant
from tests import database
from tests.database import Connection
from tests.factories.models_registry import (
    AliasFactory,
    DeploymentFactory,
    ModelFactory,
    ModelVersionFactory,
    TenantGrantFactory,
    permission,
)
from tests.factories.tenants import TenantFactory


@dataclass(frozen=True)
class Rows:
    """Acme, and what it sees by each policy; and a model of Globex's that it does not see."""

    acme: Tenant
    seen: dict[tuple[str, str], UUID]
    hidden: Model
    permission_id: int


@pytest.fixture(scope="module")
def rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Rows]:
    """Committed, so that another connection sees them."""
    with django_db_blocker.unblock():
        acme, globex = TenantFactory(slug="acme"), TenantFactory(slug="globex")
        public = ModelFactory(tenant=None, visibility="public")
        version = ModelVersionFactory(model=public)
        seen = {
            ("models_registry_model", "own_rows"): ModelFactory(tenant=acme).pk,
            ("models_registry_model", "public_rows"): public.pk,
            ("models_registry_model", "granted_rows"): TenantGrantFactory(tenant=acme).content_object_id,
            ("models_registry_modelversion", "rows_of_visible_models"): version.pk,
            ("models_registry_alias", "platform_rows_of_visible_models"): AliasFactory(version=version).pk,
            ("models_registry_alias", "own_rows"): AliasFactory(tenant=acme, version=version).pk,
            ("models_registry_deployment", "platform_rows_of_visible_models"): DeploymentFactory(
                version=version
            ).pk,
            ("models_registry_deployment", "own_rows"): DeploymentFactory(tenant=acme, version=version).pk,
            ("models_registry_tenantgrant", "received"): TenantGrantFactory(tenant=acme).pk,
            ("models_registry_tenantgrant", "given"): TenantGrantFactory(
                tenant=globex, content_object=ModelFactory(tenant=acme, visibility="granted")
            ).pk,
        }
        yield Rows(acme, seen, ModelFactory(tenant=globex), permission("invoke").pk)
        database.empty_tables()


CASES = [
    ("models_registry_model", "own_rows"),
    ("models_registry_model", "public_rows"),
    ("models_registry_model", "granted_rows"),
    ("models_registry_modelversion", "rows_of_visible_models"),
    ("models_registry_alias", "platform_rows_of_visible_models"),
    ("models_registry_alias", "own_rows"),
    ("models_registry_deployment", "platform_rows_of_visible_models"),
    ("models_registry_deployment", "own_rows"),
    ("models_registry_tenantgrant", "received"),
    ("models_registry_tenantgrant", "given"),
]


def enter(connection: Connection, tenant: Tenant) -> None:
    """The scope of a tenant, by hand."""
    connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.pk)])


def is_seen(connection: Connection, table: str, key: UUID) -> bool:
    """Whether the connection sees the row."""
    query = sql.SQL("SELECT 1 FROM {} WHERE id = %s").format(sql.Identifier(table))
    return connection.execute(query, [key]).fetchone() is not None


@pytest.mark.parametrize(("table", "policy"), CASES)
def test_without_the_policy_the_row_that_it_shows_is_gone(rows: Rows, table: str, policy: str) -> None:
    with database.as_owner() as owner:
        enter(owner, rows.acme)
        assert is_seen(owner, table, rows.seen[table, policy])
        owner.execute(sql.SQL("DROP POLICY {} ON {}").format(sql.Identifier(policy), sql.Identifier(table)))
        assert not is_seen(owner, table, rows.seen[table, policy])
        owner.rollback()


LIE = (
    "INSERT INTO models_registry_tenantgrant"
    " (id, created_at, updated_at, tenant_id, owner_id, group_id, permission_id, content_object_id)"
    " VALUES (gen_random_uuid(), now(), now(), %s, %s, %s, %s, %s)"
)


def test_a_grant_that_lies_about_the_owner_is_refused_by_the_key_of_two_columns(rows: Rows) -> None:
    """The policy would let the row in: it can only compare with what the row itself says."""
    thief: Any = rows.acme
    lie = [thief.pk, thief.pk, thief.group_id, rows.permission_id, rows.hidden.pk]
    with database.as_runtime() as connection:
        enter(connection, thief)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute(LIE, lie)
    with database.as_owner() as owner:
        enter(owner, thief)
        assert not is_seen(owner, "models_registry_model", rows.hidden.pk)
        owner.execute(
            "ALTER TABLE models_registry_tenantgrant DROP CONSTRAINT models_registry_tenantgrant_owner_fk"
        )
        owner.execute(LIE, lie)
        assert is_seen(owner, "models_registry_model", rows.hidden.pk)
        owner.rollback()


def test_a_version_that_lies_about_its_owner_is_refused_by_the_key_of_two_columns(rows: Rows) -> None:
    statement = (
        "INSERT INTO models_registry_modelversion (id, created_at, updated_at, tenant_id, model_id, number, label,"
        " state, source, artifact_path, manifest, digest, architecture)"
        " VALUES (gen_random_uuid(), now(), now(), %s, %s, 1, '', 'online', 'simulated', '', '{}', '', '')"
    )
    with database.as_runtime() as connection:
        enter(connection, rows.acme)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute(statement, [rows.acme.pk, rows.hidden.pk])
