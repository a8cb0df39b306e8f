"""Row-level security as migration operations, so that a table and its wall arrive together.

`EnableRowLevelSecurity` enables and FORCEs it (the owner is bound too) and writes the policies. The
settings that policies read are set by `core.scoping` inside the transaction. Runtime role: neither owner,
nor superuser, nor BYPASSRLS; the platform role sees all rows through its own policy (docs/adr/0002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

# As sub-selects, so that PostgreSQL evaluates them once per statement and not once per row.
TENANT = "(SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid)"
USER = "(SELECT NULLIF(current_setting('app.user_id', true), '')::uuid)"
KEY_DIGEST = "(SELECT NULLIF(current_setting('app.key_digest', true), ''))"


@dataclass(frozen=True)
class Policy:
    """One policy: `using` decides which rows are seen, `check` (default: the same) which may be written."""

    name: str
    using: str
    command: str = "ALL"  # ALL, SELECT, INSERT, UPDATE, DELETE
    check: str | None = None

    def sql(self, table: str) -> str:
        """The CREATE POLICY statement for `table`."""
        clauses = [] if self.command == "INSERT" else [f"USING ({self.using})"]
        if self.command not in ("SELECT", "DELETE"):
            clauses.append(f"WITH CHECK ({self.check or self.using})")
        return f'CREATE POLICY "{self.name}" ON "{table}" FOR {self.command} {" ".join(clauses)}'


OWN_ROWS = Policy("tenant_rows", f"tenant_id = {TENANT}")


def wall(table: str, policies: Sequence[Policy]) -> list[str]:
    """The statements that wall off one table: enable and force row-level security, and its policies."""
    return [
        f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
        f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY',
        *(policy.sql(table) for policy in policies),
        f'CREATE POLICY "platform_rows" ON "{table}" TO "{settings.DATABASE_PLATFORM_ROLE}"'
        " USING (true) WITH CHECK (true)",
    ]


class EnableRowLevelSecurity(Operation):
    """Wall off one model's table. `policies` default to "rows of the active tenant"."""

    reversible = True

    def __init__(self, model_name: str, policies: Sequence[Policy] = (OWN_ROWS,)) -> None:
        self.model_name = model_name
        self.policies = tuple(policies)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Name and arguments, as Django's migration writer wants them."""
        return type(self).__name__, [self.model_name], {"policies": self.policies}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """No change to the models' state: the wall lives in the database."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Enable and force row-level security, and create the policies."""
        table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
        for statement in wall(table, self.policies):
            schema_editor.execute(statement)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Drop the policies and the wall."""
        table = from_state.apps.get_model(app_label, self.model_name)._meta.db_table
        for name in [*(policy.name for policy in self.policies), "platform_rows"]:
            schema_editor.execute(f'DROP POLICY IF EXISTS "{name}" ON "{table}"')
        schema_editor.execute(f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY')
        schema_editor.execute(f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY')

    def describe(self) -> str:
        """One line for `sqlmigrate` and the migration's log."""
        return f"Enable and force row-level security on {self.model_name}"


class AppendOnly(Operation):
    """Let rows of one model's table be inserted and read, never changed or removed (trigger and grants)."""

    reversible = True

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Name and arguments, as Django's migration writer wants them."""
        return type(self).__name__, [self.model_name], {}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """No change to the models' state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Create the trigger and take UPDATE, DELETE and TRUNCATE away from the runtime roles."""
        table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
        schema_editor.execute(
            "CREATE OR REPLACE FUNCTION atrium_refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$",
            params=None,  # the % is PL/pgSQL's
        )
        schema_editor.execute(
            f'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON "{table}"'
            " FOR EACH ROW EXECUTE FUNCTION atrium_refuse_change()"
        )
        for role in (settings.DATABASE_RUNTIME_ROLE, settings.DATABASE_PLATFORM_ROLE):
            schema_editor.execute(f'REVOKE UPDATE, DELETE, TRUNCATE ON "{table}" FROM "{role}"')

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Drop the trigger and give the grants back."""
        table = from_state.apps.get_model(app_label, self.model_name)._meta.db_table
        schema_editor.execute(f'DROP TRIGGER IF EXISTS append_only ON "{table}"')
        for role in (settings.DATABASE_RUNTIME_ROLE, settings.DATABASE_PLATFORM_ROLE):
            schema_editor.execute(f'GRANT UPDATE, DELETE ON "{table}" TO "{role}"')

    def describe(self) -> str:
        """One line for `sqlmigrate` and the migration's log."""
        return f"Make {self.model_name} append-only"
