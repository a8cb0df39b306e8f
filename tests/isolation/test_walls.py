"""PostgreSQL itself shows no tenant another's rows (L15): raw SQL as the application's role, on every
walled table.

Each assertion is run a second time with its guard taken down, in a transaction that is rolled back, and
must fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.db import models
from psycopg import sql
from pytest_django.plugin import DjangoDbBlocker

from core.checks import WALLED, own_models
from tenants.models import Tenant
from tests import database
from tests.database import Connection
from tests.factories.base import factory_of
from tests.factories.tenants import TenantFactory

WALLED_MODELS = sorted(own_models(*WALLED), key=lambda model: model._meta.label)
every_walled_model = pytest.mark.parametrize("model", WALLED_MODELS, ids=lambda model: model._meta.label)


@dataclass(frozen=True)
class Neighbours:
    """Two tenants, and the keys of the rows that each has in every walled table."""

    acme: UUID
    globex: UUID
    rows: dict[tuple[str, UUID], object]

    def row(self, model: type[models.Model], tenant: UUID) -> object:
        """The key of `tenant`'s row in `model`'s table."""
        return self.rows[model._meta.label, tenant]


@pytest.fixture(scope="module")
def neighbours(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Neighbours]:
    """Rows of both tenants in every walled table, committed."""
    with django_db_blocker.unblock():
        acme, globex = TenantFactory(slug="acme"), TenantFactory(slug="globex")
        rows: dict[tuple[str, UUID], object] = {}
        for model in WALLED_MODELS:
            factory = factory_of(model)
            for tenant in (acme, globex):
                if model is Tenant:
                    rows[model._meta.label, tenant.pk] = tenant.pk
                elif factory is not None:
                    rows[model._meta.label, tenant.pk] = factory(tenant=tenant).pk
        yield Neighbours(acme.pk, globex.pk, rows)
        database.empty_tables()


def visible(connection: Connection, model: type[models.Model]) -> set[object]:
    """The keys of all rows of a table that the connection sees."""
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.Identifier(model._meta.pk.column), sql.Identifier(model._meta.db_table)
    )
    return {row[0] for row in connection.execute(query)}


def enter(connection: Connection, tenant_id: UUID | str) -> None:
    """What core.scoping tells the database, by hand."""
    connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant_id)])


def assert_nothing_is_visible(connection: Connection, model: type[models.Model]) -> None:
    """The first wall: no tenant, no rows."""
    assert visible(connection, model) == set()


def assert_own_rows_only(connection: Connection, model: type[models.Model], rows: Neighbours) -> None:
    """The second: with Acme set, Acme's row is seen and Globex's is not."""
    seen = visible(connection, model)
    assert rows.row(model, rows.acme) in seen
    assert rows.row(model, rows.globex) not in seen


@every_walled_model
def test_every_walled_model_has_a_factory_that_takes_a_tenant(model: type[models.Model]) -> None:
    assert factory_of(model) is not None, (
        f"write tests/factories/{model._meta.app_label}.py: {model.__name__}"
    )


def test_every_table_with_a_tenant_column_belongs_to_a_walled_model(neighbours: Neighbours) -> None:
    walled = {model._meta.db_table for model in WALLED_MODELS}
    with database.as_runtime() as connection:
        found = connection.execute(
            "SELECT DISTINCT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'v', 'f')"
            " AND NOT c.relispartition AND a.attname = 'tenant_id' AND NOT a.attisdropped"
        )
        tables = {row[0] for row in found}
    assert "access_apikey" in tables
    assert tables <= walled


@every_walled_model
def test_without_a_tenant_no_row_is_returned(model: type[models.Model], neighbours: Neighbours) -> None:
    with database.as_runtime() as connection:
        assert_nothing_is_visible(connection, model)


@every_walled_model
def test_a_tenant_sees_its_own_rows_only(model: type[models.Model], neighbours: Neighbours) -> None:
    with database.as_runtime() as connection:
        enter(connection, neighbours.acme)
        assert_own_rows_only(connection, model, neighbours)


@every_walled_model
def test_a_tenant_that_does_not_exist_sees_nothing_of_others(
    model: type[models.Model], neighbours: Neighbours
) -> None:
    with database.as_runtime() as connection:
        enter(connection, "00000000-0000-7000-8000-000000000000")
        seen = visible(connection, model)
    assert neighbours.row(model, neighbours.acme) not in seen
    assert neighbours.row(model, neighbours.globex) not in seen


@every_walled_model
def test_the_platform_role_sees_all_rows(model: type[models.Model], neighbours: Neighbours) -> None:
    with database.as_runtime() as connection:
        connection.execute(
            sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(settings.DATABASE_PLATFORM_ROLE))
        )
        seen = visible(connection, model)
    assert {neighbours.row(model, neighbours.acme), neighbours.row(model, neighbours.globex)} <= seen


@every_walled_model
def test_the_owner_is_bound_too(model: type[models.Model], neighbours: Neighbours) -> None:
    with database.as_owner() as owner:
        assert_nothing_is_visible(owner, model)


@pytest.mark.parametrize(
    "model",
    [model for model in WALLED_MODELS if model is not Tenant],
    ids=lambda model: model._meta.label,
)
def test_a_tenant_cannot_move_its_row_to_another(model: type[models.Model], neighbours: Neighbours) -> None:
    query = sql.SQL("UPDATE {} SET tenant_id = %s WHERE {} = %s").format(
        sql.Identifier(model._meta.db_table), sql.Identifier(model._meta.pk.column)
    )
    with database.as_runtime() as connection:
        enter(connection, neighbours.acme)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(query, [neighbours.globex, neighbours.row(model, neighbours.acme)])


@every_walled_model
def test_a_tenant_cannot_change_or_remove_anothers_row(
    model: type[models.Model], neighbours: Neighbours
) -> None:
    table, key = sql.Identifier(model._meta.db_table), sql.Identifier(model._meta.pk.column)
    foreign = neighbours.row(model, neighbours.globex)
    statements = (
        sql.SQL("UPDATE {} SET {} = {} WHERE {} = %s").format(table, key, key, key),
        sql.SQL("DELETE FROM {} WHERE {} = %s").format(table, key),
    )
    for statement in statements:
        with database.as_runtime() as connection:
            enter(connection, neighbours.acme)
            try:
                assert connection.execute(statement, [foreign]).rowcount == 0
            except psycopg.errors.InsufficientPrivilege:
                connection.rollback()  # an append-only table: nobody's row can be changed


# --- Partitions: each can be asked by its own name ------------------------------------------------------------


def partitions(connection: Connection) -> list[str]:
    """Every table that is a part of another."""
    return [
        row[0]
        for row in connection.execute(
            "SELECT relname FROM pg_class WHERE relispartition AND relkind IN ('r', 'p') ORDER BY relname"
        )
    ]


def assert_every_partition_is_walled(connection: Connection) -> None:
    """Forced row-level security, and the policies of the table that it is a part of, on every partition."""
    open_ones = connection.execute(
        "WITH wall AS (SELECT c.oid, c.relrowsecurity AND c.relforcerowsecurity AS stands, (SELECT array_agg("
        "  (polname, polcmd, polpermissive, polroles, pg_get_expr(polqual, polrelid),"
        "   pg_get_expr(polwithcheck, polrelid))::text ORDER BY polname)"
        "  FROM pg_policy WHERE polrelid = c.oid) AS policies FROM pg_class c)"
        " SELECT inhrelid::regclass::text FROM pg_inherits JOIN wall child ON child.oid = inhrelid"
        " JOIN wall parent ON parent.oid = inhparent JOIN pg_class t ON t.oid = inhrelid"
        " WHERE t.relkind IN ('r', 'p') AND (NOT child.stands OR child.policies IS DISTINCT FROM parent.policies)"
    ).fetchall()
    assert open_ones == []


def test_every_partition_has_the_walls_of_its_table(neighbours: Neighbours) -> None:
    with database.as_runtime() as connection:
        assert connection.execute("SELECT billing_usagerecord_make_partition('2024-02-01')").fetchone() == (
            True,
        )
        assert len(partitions(connection)) > 1
        assert_every_partition_is_walled(connection)
        connection.rollback()


def test_a_partition_shows_no_more_than_its_table(neighbours: Neighbours) -> None:
    model = next(model for model in WALLED_MODELS if model._meta.label == "billing.UsageRecord")
    with database.as_runtime() as connection:
        seen: set[object] = set()
        for name in partitions(connection):
            query = sql.SQL("SELECT id FROM {}").format(sql.Identifier(name))
            enter(connection, "")
            assert connection.execute(query).fetchall() == []
            enter(connection, neighbours.acme)
            seen |= {row[0] for row in connection.execute(query)}
    assert neighbours.row(model, neighbours.acme) in seen
    assert neighbours.row(model, neighbours.globex) not in seen


@pytest.mark.parametrize(
    "breach",
    [
        "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY mutant ON {} USING (true)",
        "DROP POLICY tenant_rows ON {}",
    ],
)
def test_control_a_partition_without_its_wall_is_noticed(breach: str, neighbours: Neighbours) -> None:
    with database.as_owner() as owner:
        owner.execute(sql.SQL(breach).format(sql.Identifier("billing_usagerecord_default")))
        with pytest.raises(AssertionError):
            assert_every_partition_is_walled(owner)
        owner.rollback()


@pytest.mark.parametrize("month", ["1999-01-01", "2100-01-01", None])
def test_the_function_that_makes_partitions_takes_no_senseless_month(
    month: str | None, django_db_setup: None
) -> None:
    with database.as_runtime() as connection, pytest.raises(psycopg.errors.InvalidParameterValue):
        connection.execute("SELECT billing_usagerecord_make_partition(%s)", [month])


# --- Mutants: each wall taken down, and the assertion that guards it must notice -----------------------------------


@pytest.mark.slow
@every_walled_model
def test_control_without_force_the_first_wall_is_down(
    model: type[models.Model], neighbours: Neighbours
) -> None:
    with database.as_owner() as owner:
        owner.execute(
            sql.SQL("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY").format(sql.Identifier(model._meta.db_table))
        )
        with pytest.raises(AssertionError):
            assert_nothing_is_visible(owner, model)
        owner.rollback()


@every_walled_model
def test_control_with_an_open_policy_both_walls_are_down(
    model: type[models.Model], neighbours: Neighbours
) -> None:
    with database.as_owner() as owner:
        owner.execute(
            sql.SQL("CREATE POLICY mutant ON {} FOR SELECT USING (true)").format(
                sql.Identifier(model._meta.db_table)
            )
        )
        with pytest.raises(AssertionError):
            assert_nothing_is_visible(owner, model)
        enter(owner, neighbours.acme)
        with pytest.raises(AssertionError):
            assert_own_rows_only(owner, model, neighbours)
        owner.rollback()


@every_walled_model
def test_control_without_its_policies_a_tenant_misses_its_own_rows(
    model: type[models.Model], neighbours: Neighbours
) -> None:
    table = model._meta.db_table
    with database.as_owner() as owner:
        names = owner.execute(
            "SELECT polname FROM pg_policy WHERE polrelid = %s::regclass", [table]
        ).fetchall()
        for (name,) in names:
            owner.execute(sql.SQL("DROP POLICY {} ON {}").format(sql.Identifier(name), sql.Identifier(table)))
        enter(owner, neighbours.acme)
        with pytest.raises(AssertionError):
            assert_own_rows_only(owner, model, neighbours)
        owner.rollback()


# --- The roles ----------------------------------------------------------------------------------------------------


def test_the_applications_role_is_bound_by_the_walls(django_db_setup: None) -> None:
    with database.as_runtime() as connection:
        role = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        owned = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole"
        ).fetchone()
        user = connection.execute("SELECT current_user").fetchone()
    assert user == (settings.DATABASE_RUNTIME_ROLE,)
    assert role == (False, False, False, False, False)
    assert owned == (0,)


def test_the_platform_role_cannot_sign_in_and_bypasses_nothing(django_db_setup: None) -> None:
    with database.as_runtime() as connection:
        role = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = %s",
            [settings.DATABASE_PLATFORM_ROLE],
        ).fetchone()
        membership = connection.execute(
            "SELECT inherit_option, set_option, admin_option FROM pg_auth_members"
            " WHERE roleid = %s::regrole AND member = current_user::regrole",
            [settings.DATABASE_PLATFORM_ROLE],
        ).fetchall()
    assert role == (False, False, False)
    # Not inherited: what its policies allow counts only after SET ROLE.
    assert membership == [(False, True, False)]


def test_the_applications_role_cannot_take_a_wall_down(neighbours: Neighbours) -> None:
    for statement in (
        "ALTER TABLE access_apikey DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE access_apikey NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY open ON access_apikey USING (true)",
        "DROP POLICY tenant_rows ON access_apikey",
        "TRUNCATE access_apikey",
        "SET SESSION AUTHORIZATION atrium_owner",
        "SET ROLE atrium_owner",
    ):
        with database.as_runtime() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_no_view_or_function_leads_past_the_walls(django_db_setup: None) -> None:
    with database.as_runtime() as connection:
        views = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND"
            " (relkind = 'm' OR relkind = 'v' AND NOT 'security_invoker=true' = ANY (COALESCE(reloptions, '{}')))"
        ).fetchall()
        functions = connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        ).fetchall()
    assert views == []
    # They make or drop a partition of a month and take nothing but the month (core.partitions). Two do else: one notes
    # an event for a trigger, one erases the events of a closed tenant that its chain says were erased (audit).
    assert {name for (name,) in functions} == {
        "audit_erase_events",
        "audit_note_event",
        "billing_usagerecord_make_partition",
        *(
            f"inference_{table}_{verb}_partition"
            for table in ("calllog", "calllogtext")
            for verb in ("make", "drop")
        ),
    }


def test_functions_with_the_owners_rights_have_a_fixed_path_and_are_not_for_everybody(
    django_db_setup: None,
) -> None:
    with database.as_runtime() as connection:
        found = connection.execute(
            "SELECT proname, proconfig, has_function_privilege(%s, oid, 'EXECUTE'),"
            " has_function_privilege(%s, oid, 'EXECUTE'), proacl::text ~ '[{,]=' FROM pg_proc"
            " WHERE pronamespace = 'public'::regnamespace AND prosecdef ORDER BY proname",
            [settings.DATABASE_RUNTIME_ROLE, settings.DATABASE_PLATFORM_ROLE],
        ).fetchall()
    path = ["search_path=pg_catalog, pg_temp"]
    # For whom each is: the application's role, the platform's, everybody. What erases or drops is behind the platform's
    # door alone; a trigger's is nobody's.
    whose = {"audit_erase_events": (False, True), "audit_note_event": (False, False)}
    assert found
    for name, settings_of_it, is_applications, is_platforms, is_everybodys in found:
        assert settings_of_it == path, name
        drops = name.endswith("_drop_partition")
        assert (is_applications, is_platforms) == whose.get(name, (not drops, drops)), name
        assert not is_everybodys, name


def test_row_level_security_errors_are_silent_about_what_they_hide(neighbours: Neighbours) -> None:
    """Attack 22: the id of another tenant's row and an id that nobody has are answered alike."""
    answers = []
    for key in (neighbours.rows["access.APIKey", neighbours.globex], UUID(int=7)):
        with database.as_runtime() as connection:
            enter(connection, neighbours.acme)
            answers.append(connection.execute("SELECT * FROM access_apikey WHERE id = %s", [key]).fetchall())
    assert answers == [[], []]
