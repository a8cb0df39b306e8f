"""`manage.py prepare`: make a database ready to serve: migrations, checks of the walls, safety rules, the demo."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.base import SystemCheckError
from django.utils.translation import gettext as _

from billing.services import demo as demo_money
from models_registry.selectors import serving_deployments
from models_registry.services import demo as demo_models
from safety.services import builtin
from tenants.services import demo as demo_tenants


class Command(BaseCommand):
    """Idempotent: run before every start. Migrations run as the owner of the tables, the rest as the runtime role."""

    help = "Migrate, check that the walls stand, bring in the safety rules, and set up the demo."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--output` for the launcher, `--no-demo` for production."""
        parser.add_argument("--output", type=Path, help="where to write what was set up, as JSON")
        parser.add_argument("--no-demo", action="store_true", help="no demo tenants, prices and models")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the steps; ends with one sentence when one of them fails."""
        if "owner" not in settings.DATABASES:
            raise CommandError(
                _(
                    "Set DATABASE_OWNER_URL to a role that owns the tables: migrations do not run as the runtime role."
                )
            )
        call_command("migrate", database="owner", interactive=False, verbosity=options["verbosity"])
        try:
            call_command("check", databases=["default"])
        except SystemCheckError as error:
            raise CommandError(str(error)) from error
        for line in builtin.seed():
            self.stdout.write(line)
        if options["no_demo"]:
            return
        tenants = demo_tenants.seed()
        for line in demo_money.seed([tenant["slug"] for tenant in tenants["tenants"]]):
            self.stdout.write(line)
        prepared = {**tenants, "models": self._models()}
        if options["output"] is not None:
            write_private(options["output"], json.dumps(prepared, ensure_ascii=False, indent=2))
        self.stdout.write(_("Ready to serve."))

    def _models(self) -> list[dict[str, str]]:
        """Register the demo's models; those that can be called, by name and task."""
        for line in demo_models.seed(engine_installed=settings.ENGINE_INSTALLED):
            self.stdout.write(line)
        serving = {deployment.version.model.name for deployment in serving_deployments()}
        return [
            {"name": model.name, "task": str(model.task)}
            for model in demo_models.demo_models()
            if model.name in serving
        ]


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read, whole or not at all: it holds keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    half.replace(path)
