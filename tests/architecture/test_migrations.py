"""Migrations: in step with the models, walls included, and independent of the apps' code."""

from __future__ import annotations

import ast
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.migrations.loader import MigrationLoader

from core.checks import WALLED, is_ours, own_models
from core.rls import EnableRowLevelSecurity
from tests.architecture.sources import ROOT, own_packages

# Field defaults and validators that migrations name; they must stay importable from there for ever.
IMPORTABLE = ("core.", "django.", "uuid", "datetime", "decimal", "__future__")


@pytest.mark.django_db
def test_models_and_migrations_are_in_step() -> None:
    output = StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=output, stderr=output)
    assert "No changes detected" in output.getvalue()


@pytest.mark.django_db
def test_everything_is_migrated_in_one_line() -> None:
    loader = MigrationLoader(connections["default"])
    assert loader.detect_conflicts() == {}
    ours = {package.name for package in own_packages()}
    unapplied = {key for key in loader.disk_migrations if key[0] in ours} - set(loader.applied_migrations)
    assert unapplied == set()


@pytest.mark.slow
def test_every_walled_model_gets_its_wall_in_a_migration() -> None:
    loader = MigrationLoader(None)
    walls = {
        (migration.app_label, operation.model_name.lower())
        for migration in loader.disk_migrations.values()
        for operation in migration.operations
        if isinstance(operation, EnableRowLevelSecurity)
    }
    walled = {(model._meta.app_label, str(model._meta.model_name)) for model in own_models(*WALLED)}
    assert walls == walled
    assert walled


def test_migrations_import_nothing_that_may_move() -> None:
    found = {}
    for package in own_packages():
        for file in package.glob("**/migrations/*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}."]
                for name in names:
                    if not f"{name}.".startswith(IMPORTABLE):
                        found[f"{file.relative_to(ROOT)}: {name}"] = name
    assert found == {}


def test_the_checks_of_django_and_of_ours_pass() -> None:
    assert all(is_ours(model) for model in own_models())
    call_command("check", fail_level="WARNING")
