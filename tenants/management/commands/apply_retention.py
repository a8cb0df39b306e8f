"""`manage.py apply_retention`: remove what is too old, now, or count what would go."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.actors import system
from tenants.selectors import classes_with_retention
from tenants.services import retention


class Command(BaseCommand):
    """For operators; the jobs worker does it every night."""

    help = "Remove what each class of data no longer keeps."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """A dry run, and one class."""
        parser.add_argument("--dry-run", action="store_true", help="count only")
        parser.add_argument("--class", dest="data_class", default="", help="one class of data")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, and print one line per class."""
        wanted = options["data_class"]
        if wanted and wanted not in classes_with_retention():
            raise CommandError(f"{wanted} is none of: {', '.join(classes_with_retention())}")
        runs = retention.apply(actor=system("manage.py"), dry_run=options["dry_run"], data_class=wanted)
        if not runs:
            raise CommandError("Retention is being applied already.")
        for run in runs:
            verb = "would go" if run.is_dry_run else "removed"
            self.stdout.write(f"{run.data_class}: {run.removed} {verb}, digest {run.digest}")
