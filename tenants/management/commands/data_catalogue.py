"""`manage.py data_catalogue`: where tenants' data lives, how long it stays, and what becomes of it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from tenants.selectors import data_classes


class Command(BaseCommand):
    """For operators and auditors."""

    help = "Print the catalogue of data."

    def handle(self, *args: Any, **options: Any) -> None:
        """One paragraph per class."""
        for each in data_classes():
            self.stdout.write(f"{each.name}: {each.holds}")
            for label, values in (("tables", each.models), ("keys", each.keys), ("files", each.files)):
                if values:
                    self.stdout.write(f"  {label}: {', '.join(values)}")
            self.stdout.write(f"  kept: {each.retained}")
            self.stdout.write(f"  when the tenant closes: {each.kept or 'erased'}")
