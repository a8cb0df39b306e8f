"""Tables partitioned by month, as a migration operation: walls on every partition, made ahead, nothing refused.

`PartitionByMonth` turns a table into one that is partitioned by range of a time column, with its rows, and
makes two functions of the database, named after the table:

- `<table>_make_partition(month date)` makes one partition, walled like the table, and moves into it what the
  default partition holds of that month. It belongs to the owner and runs with the owner's rights (SECURITY
  DEFINER, fixed search path), because the servers' role may not make tables. It takes a date within bounds and
  nothing else.
- rows of a month that has no partition go into `<table>_default`, so that a schedule that did not run costs no row.

Statement triggers and row-level security of the parent are what queries by the parent's name meet; queries by a
partition's name meet that partition's own policies, which are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from core.rls import OWN_ROWS, Policy, wall

# Months for which a partition may be made: from here, to this many days ahead.
EARLIEST = "2020-01-01"
MOST_DAYS_AHEAD = 400

_MAKE = """
CREATE FUNCTION public."{table}_make_partition"(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  begins timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
  ends timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
  child text := '{table}_' || to_char(month, 'YYYY_MM');
BEGIN
  IF month IS NULL OR month < DATE '{earliest}' OR month > (now() AT TIME ZONE 'UTC')::date + {ahead} THEN
    RAISE EXCEPTION 'no partition is made for this month' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('{table}_make_partition', 0));
  IF to_regclass(format('public.%I', child)) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE public.%I (LIKE public."{table}" INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child);
  -- Forced row-level security binds the owner too. The lock keeps everybody out until the wall stands again.
  LOCK TABLE public."{table}_default" IN ACCESS EXCLUSIVE MODE;
  ALTER TABLE public."{table}_default" NO FORCE ROW LEVEL SECURITY;
  EXECUTE format(
    'WITH moved AS (DELETE FROM public."{table}_default" WHERE {column} >= %L AND {column} < %L RETURNING *)'
    ' INSERT INTO public.%I SELECT * FROM moved', begins, ends, child);
  ALTER TABLE public."{table}_default" FORCE ROW LEVEL SECURITY;
{wall}
  EXECUTE format(
    'ALTER TABLE public."{table}" ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', child, begins, ends);
  RETURN true;
END
$function$
"""


class PartitionByMonth(Operation):
    """Partition a model's table by month of one time column, its rows, indexes, checks and keys included.

    The primary key becomes (id, <column>). Remove unique constraints that lack the column before, and add them
    with it afterwards. Locks the table and copies it: for large tables, in a maintenance window.
    """

    reversible = True

    def __init__(self, model_name: str, column: str, policies: Sequence[Policy] = (OWN_ROWS,)) -> None:
        self.model_name = model_name
        self.column = column
        self.policies = tuple(policies)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Name and arguments, as Django's migration writer wants them."""
        return type(self).__name__, [self.model_name, self.column], {"policies": self.policies}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """No change to the models' state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Make the partitioned table, partitions for the rows there are and for now, and move the rows."""
        table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
        with schema_editor.connection.cursor() as cursor:
            found = _set_aside(cursor, table)
            cursor.execute(
                f'CREATE TABLE "{table}" (LIKE "{table}_before" INCLUDING DEFAULTS INCLUDING CONSTRAINTS)'
                f' PARTITION BY RANGE ("{self.column}")'
            )
            cursor.execute(f'CREATE TABLE "{table}_default" PARTITION OF "{table}" DEFAULT')
            for statement in (*wall(table, self.policies), *wall(f"{table}_default", self.policies)):
                cursor.execute(statement)
            self._make_function(cursor, table)
            cursor.execute(
                f"SELECT DISTINCT date_trunc('month', \"{self.column}\" AT TIME ZONE 'UTC')::date"  # noqa: S608
                f' FROM "{table}_before" WHERE "{self.column}" >= \'{EARLIEST}\' AND "{self.column}" <'
                f" now() + interval '{MOST_DAYS_AHEAD - 31} days'"
            )
            months = {row[0] for row in cursor.fetchall()}
            cursor.execute(
                "SELECT generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),"
                " date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months', interval '1 month')::date"
            )
            for month in sorted(months | {row[0] for row in cursor.fetchall()}):
                cursor.execute(f'SELECT "{table}_make_partition"(%s)', [month])
            _bring_back(cursor, table, found, key=f'"id", "{self.column}"')

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Make one plain table of it again."""
        table = from_state.apps.get_model(app_label, self.model_name)._meta.db_table
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(f'DROP FUNCTION "{table}_make_partition"(date)')
            found = _set_aside(cursor, table)
            cursor.execute(
                f'CREATE TABLE "{table}" (LIKE "{table}_before" INCLUDING DEFAULTS INCLUDING CONSTRAINTS)'
            )
            for statement in wall(table, self.policies):
                cursor.execute(statement)
            _bring_back(cursor, table, found, key='"id"')

    def _make_function(self, cursor: Any, table: str) -> None:
        walls = [
            statement.replace("%", "%%").replace('"@child"', "public.%1$I")
            for statement in wall("@child", self.policies)
        ]
        text = _MAKE.format(
            table=table,
            column=f'"{self.column}"',
            earliest=EARLIEST,
            ahead=MOST_DAYS_AHEAD,
            wall="\n".join(f"  EXECUTE format($wall${each}$wall$, child);" for each in walls),
        )
        cursor.execute(text)  # no parameters: the % signs are plpgsql's
        cursor.execute(f'REVOKE ALL ON FUNCTION "{table}_make_partition"(date) FROM PUBLIC')
        cursor.execute(
            f'GRANT EXECUTE ON FUNCTION "{table}_make_partition"(date) TO "{settings.DATABASE_RUNTIME_ROLE}"'
        )

    def describe(self) -> str:
        """One line for `sqlmigrate` and the migration's log."""
        return f"Partition {self.model_name} by month of {self.column}"


_DROP = """
CREATE FUNCTION public."{table}_drop_partition"(month date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  child text := '{table}_' || to_char(month, 'YYYY_MM');
  found bigint;
BEGIN
  IF month IS NULL OR (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC' > now() THEN
    RAISE EXCEPTION 'this month is not over' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('{table}_make_partition', 0));
  IF to_regclass(format('public.%I', child)) IS NULL THEN
    RETURN 0;
  END IF;
  EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', child);
  EXECUTE format('ALTER TABLE public.%I NO FORCE ROW LEVEL SECURITY', child);
  EXECUTE format('SELECT count(*) FROM public.%I', child) INTO found;
  EXECUTE format('DROP TABLE public.%I', child);
  RETURN found;
END
$function$
"""


class DropPartitions(Operation):
    """Let the platform role drop whole months of a model that `PartitionByMonth` has partitioned.

    Makes `<table>_drop_partition(month date)`, which returns how many rows went. It takes months that are over and
    nothing else; whether a month may go is the caller's question.
    """

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
        """Make the function; for the platform role alone."""
        table = to_state.apps.get_model(app_label, self.model_name)._meta.db_table
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(_DROP.format(table=table))  # no parameters: the % signs are plpgsql's
            cursor.execute(f'REVOKE ALL ON FUNCTION "{table}_drop_partition"(date) FROM PUBLIC')
            cursor.execute(
                f'GRANT EXECUTE ON FUNCTION "{table}_drop_partition"(date) TO "{settings.DATABASE_PLATFORM_ROLE}"'
            )

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Drop the function."""
        table = from_state.apps.get_model(app_label, self.model_name)._meta.db_table
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(f'DROP FUNCTION "{table}_drop_partition"(date)')

    def describe(self) -> str:
        """One line for `sqlmigrate` and the migration's log."""
        return f"Let whole months of {self.model_name} be dropped"


def _set_aside(cursor: Any, table: str) -> list[str]:
    """Rename the table to `<table>_before`; returns the statements that make its keys and indexes again."""
    cursor.execute(
        "SELECT format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', %s, conname, pg_get_constraintdef(oid))"
        " FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f' AND conparentid = 0",
        [table, table],
    )
    found = [row[0] for row in cursor.fetchall()]
    cursor.execute(
        "SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index"
        " WHERE indrelid = %s::regclass AND NOT EXISTS"
        " (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))",
        [table],
    )
    found += [row[0] for row in cursor.fetchall()]
    cursor.execute(f'ALTER TABLE "{table}" RENAME TO "{table}_before"')
    # The owner is bound by the walls too, and has to read all rows once.
    cursor.execute(f'ALTER TABLE "{table}_before" NO FORCE ROW LEVEL SECURITY')
    return found


def _bring_back(cursor: Any, table: str, found: list[str], *, key: str) -> None:
    cursor.execute(f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY')
    cursor.execute(f'INSERT INTO "{table}" SELECT * FROM "{table}_before"')  # noqa: S608
    cursor.execute(f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY')
    cursor.execute(f'DROP TABLE "{table}_before"')
    cursor.execute(f'ALTER TABLE "{table}" ADD CONSTRAINT "{table}_pkey" PRIMARY KEY ({key})')
    for statement in found:
        cursor.execute(statement)


def make_partition(table: str, month: date) -> bool:
    """Make `table`'s partition of one month; False where it is there already. A transaction of its own.

    Waits for readers and writers of the default partition, and keeps them out for as long as moving takes.
    """
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute(f'SELECT "{table}_make_partition"(%s)', [month])
        return bool(cursor.fetchone()[0])


def months_in_default(table: str, column: str) -> list[date]:
    """Months of which the default partition holds rows, those that can have a partition. Platform door."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT date_trunc('month', \"{column}\" AT TIME ZONE 'UTC')::date"  # noqa: S608
            f' FROM "{table}_default" WHERE "{column}" >= \'{EARLIEST}\''
            f" AND \"{column}\" < now() + interval '{MOST_DAYS_AHEAD - 31} days' ORDER BY 1"
        )
        return [row[0] for row in cursor.fetchall()]


def months_of(table: str) -> list[date]:
    """Months that have a partition, the oldest first. Reads the catalogue only."""
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT to_date(right(relname, 7), 'YYYY_MM') FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid"
            " WHERE inhparent = %s::regclass AND relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY 1",
            [table],
        )
        return [row[0] for row in cursor.fetchall()]


def drop_partition(table: str, month: date) -> int:
    """Drop `table`'s partition of a month that is over; returns how many rows went. Inside the platform's scope.

    Cost: a count, and a lock on the whole table for the moment of dropping.
    """
    with connections["default"].cursor() as cursor:
        cursor.execute(f'SELECT "{table}_drop_partition"(%s)', [month])
        return int(cursor.fetchone()[0])
