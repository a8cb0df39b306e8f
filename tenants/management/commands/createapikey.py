"""`manage.py createapikey TENANT --name NAME --scopes invoke,read`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from access.services import keys
from core import clock
from core.actors import system
from core.errors import DomainError
from core.scoping import platform_scope, tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    """Makes an API key for a tenant."""

    help = "Make an API key. It is shown this once; alone on standard output, so that it can be piped."

    def add_arguments(self, parser: CommandParser) -> None:
        """TENANT, --name, --scopes, --models, --networks, --expires-days."""
        parser.add_argument("tenant", help="short name of the tenant")
        parser.add_argument("--name", default="command line", help="what the key is for")
        parser.add_argument("--scopes", default="invoke", help="comma-separated: invoke, read, manage")
        parser.add_argument("--models", default="", help="comma-separated public names (default: all)")
        parser.add_argument(
            "--networks", default="", help="comma-separated, e.g. 203.0.113.0/24 (default: all)"
        )
        parser.add_argument("--expires-days", type=int, help="days until it expires (default: never)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the key, or say in one sentence why not."""
        days = options["expires_days"]
        try:
            with platform_scope(reason="createapikey"):
                tenant = tenant_by_slug(slug=options["tenant"])
            with tenant_scope(tenant.pk):
                key, secret = keys.create(
                    actor=system("createapikey"),
                    name=options["name"],
                    scopes=_listed(options["scopes"]),
                    allowed_models=_listed(options["models"]),
                    allowed_networks=_listed(options["networks"]),
                    expires_at=clock.now() + timedelta(days=days) if days is not None else None,
                )
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stderr.write(_("API key %(key)s of %(tenant)s:") % {"key": key.public_id, "tenant": tenant.slug})
        self.stdout.write(secret)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
