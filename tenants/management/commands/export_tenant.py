"""`manage.py export_tenant`: all of a tenant's data into a file, now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.actors import system
from core.errors import DomainError
from core.scoping import platform_scope, tenant_scope
from tenants import selectors
from tenants.services import exports


class Command(BaseCommand):
    """For operators."""

    help = "Write all of a tenant's data into a ZIP file of JSON Lines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose."""
        parser.add_argument("slug", help="the tenant's short name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it, and print where it lies."""
        try:
            with platform_scope("manage.py export_tenant"):
                tenant = selectors.tenant_by_slug(slug=options["slug"])
            with tenant_scope(tenant.pk):
                export = exports.request(actor=system("manage.py"), tenant_id=tenant.pk)
            export = exports.build(export_id=export.pk, tenant_id=tenant.pk)
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{exports.path_of(export)} {export.size_bytes} bytes, sha256 {export.sha256}")
