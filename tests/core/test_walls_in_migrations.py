"""The migration operations that build walls, and the checks that refuse a table or a role without them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.core.checks import Error
from django.db import models
from django.db.migrations.state import ModelState, ProjectState
from psycopg import sql

from core.checks import tenant_columns_are_declared, walls_stand
from core.rls import OWN_ROWS, AppendOnly, EnableRowLevelSecurity, Policy
from tests import database
from tests.database import Connection


class FakeEditor:
    """As much of a schema editor as the operations use, on a connection that is rolled back."""

    def __init__(self, owner: Connection) -> None:
        self.owner = owner

    def execute(self, statement: str, params: object = ()) -> None:
        """Run one statement."""
        self.owner.execute(statement)  # type: ignore[arg-type]


@pytest.fixture
def state() -> ProjectState:
    """One model, `things.Thing`, with a tenant."""
    state = ProjectState()
    fields = [("id", models.UUIDField(primary_key=True)), ("tenant_id", models.UUIDField())]
    state.add_model(ModelState("things", "Thing", fields))
    return state


@pytest.fixture
def owner(django_db_setup: None) -> Iterator[Connection]:
    """The owner, with the table made; nothing of it stays."""
    with database.as_owner() as connection:
        connection.execute("CREATE TABLE things_thing (id uuid PRIMARY KEY, tenant_id uuid NOT NULL)")
        connection.execute("INSERT INTO things_thing VALUES (gen_random_uuid(), gen_random_uuid())")
        yield connection
        connection.rollback()


def count(owner: Connection) -> int:
    """Rows in sight."""
    row = owner.execute("SELECT count(*) FROM things_thing").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.slow
def test_a_wall_hides_rows_and_can_be_taken_back(owner: Connection, state: ProjectState) -> None:
    operation = EnableRowLevelSecurity("thing")
    assert count(owner) == 1
    operation.database_forwards("things", FakeEditor(owner), state, state)  # type: ignore[arg-type]
    assert count(owner) == 0
    operation.database_backwards("things", FakeEditor(owner), state, state)  # type: ignore[arg-type]
    assert count(owner) == 1
    assert owner.execute(
        "SELECT count(*) FROM pg_policy WHERE polrelid = 'things_thing'::regclass"
    ).fetchone() == (0,)


def test_an_append_only_table_takes_rows_and_keeps_them(owner: Connection, state: ProjectState) -> None:
    operation = AppendOnly("thing")
    operation.database_forwards("things", FakeEditor(owner), state, state)  # type: ignore[arg-type]
    owner.execute("INSERT INTO things_thing VALUES (gen_random_uuid(), gen_random_uuid())")
    for statement in ("UPDATE things_thing SET tenant_id = gen_random_uuid()", "DELETE FROM things_thing"):
        with (
            pytest.raises(psycopg.errors.RaiseException, match="things_thing is append-only"),
            owner.transaction(),
        ):
            owner.execute(statement)  # type: ignore[call-overload]
    operation.database_backwards("things", FakeEditor(owner), state, state)  # type: ignore[arg-type]
    owner.execute("DELETE FROM things_thing")
    assert count(owner) == 0


def test_operations_can_be_written_into_migrations(state: ProjectState) -> None:
    for operation in (EnableRowLevelSecurity("thing", policies=(OWN_ROWS,)), AppendOnly("thing")):
        name, args, kwargs = operation.deconstruct()
        again = type(operation)(*args, **kwargs)
        assert again.deconstruct() == (name, args, kwargs)
        operation.state_forwards("things", state)
        assert "thing" in operation.describe().lower()


def test_policies_are_spelled_as_postgresql_wants_them() -> None:
    assert Policy("p", "a").sql("t") == 'CREATE POLICY "p" ON "t" FOR ALL USING (a) WITH CHECK (a)'
    assert Policy("p", "a", command="SELECT").sql("t") == 'CREATE POLICY "p" ON "t" FOR SELECT USING (a)'
    assert (
        Policy("p", "", command="INSERT", check="b").sql("t")
        == 'CREATE POLICY "p" ON "t" FOR INSERT WITH CHECK (b)'
    )
    assert Policy("p", "a", command="DELETE").sql("t") == 'CREATE POLICY "p" ON "t" FOR DELETE USING (a)'
    assert (
        Policy("p", "a", command="UPDATE", check="b").sql("t")
        == 'CREATE POLICY "p" ON "t" FOR UPDATE USING (a) WITH CHECK (b)'
    )


def ids(errors: object) -> list[str | None]:
    """The ids of check messages."""
    return [error.id for error in errors if isinstance(error, Error)]  # type: ignore[attr-defined]


@pytest.mark.django_db
def test_the_checks_are_content_with_what_stands() -> None:
    assert ids(walls_stand(databases=["default"])) == []
    assert ids(tenant_columns_are_declared()) == []
    assert ids(walls_stand(databases=None)) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "mutation",
    [
        "ALTER TABLE access_apikey DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE access_apikey NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant_rows ON access_apikey; DROP POLICY known_digest ON access_apikey;"
        " DROP POLICY platform_rows ON access_apikey",
    ],
)
def test_the_check_finds_a_wall_that_was_taken_down(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.as_owner() as owner:
        owner.execute(sql.SQL(mutation))  # type: ignore[arg-type]

        class Mutant:
            """The owner's connection in the place of Django's."""

            def __getitem__(self, alias: str) -> Connection:
                return owner

        monkeypatch.setattr("core.checks.connections", Mutant())
        found = ids(walls_stand(databases=["other"]))
        owner.rollback()
    assert found == ["atrium.E002"]


@pytest.mark.django_db
def test_the_check_finds_a_role_that_owns_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    with database.as_owner() as owner:

        class Mutant:
            """The owner's connection in the place of the application's."""

            def __getitem__(self, alias: str) -> Connection:
                return owner

        monkeypatch.setattr("core.checks.connections", Mutant())
        assert ids(walls_stand(databases=["default"])) == ["atrium.E004"]


@pytest.mark.django_db
def test_the_check_finds_a_role_that_no_wall_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database.admin_url()) as admin:

        class Mutant:
            """A superuser's connection in the place of the application's."""

            def __getitem__(self, alias: str) -> Connection:
                return admin

        monkeypatch.setattr("core.checks.connections", Mutant())
        assert "atrium.E003" in ids(walls_stand(databases=["default"]))
