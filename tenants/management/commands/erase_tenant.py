"""`manage.py erase_tenant`: close a tenant for good, now. There is no way back."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.actors import system
from core.errors import DomainError
from core.scoping import platform_scope
from tenants import selectors
from tenants.services import erasure, tenants


class Command(BaseCommand):
    """For operators."""

    help = "Erase everything that a tenant owns, but for what the law keeps, and print the certificate."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose, typed twice, and why."""
        parser.add_argument("slug", help="the tenant's short name")
        parser.add_argument("--confirm", required=True, help="the short name again")
        parser.add_argument("--reason", required=True, help="kept in the audit trail and on the certificate")

    def handle(self, *args: Any, **options: Any) -> None:
        """Close it if it is open, erase, and print the certificate."""
        actor = system("manage.py")
        try:
            with platform_scope("manage.py erase_tenant"):
                tenant = selectors.tenant_by_slug(slug=options["slug"])
                if options["confirm"] != tenant.slug:
                    raise CommandError("The two names differ.")
                tenant = tenants.close(tenant=tenant, actor=actor, reason=options["reason"])
                asked = erasure.request_tenant(
                    tenant=tenant, actor=actor, confirm=options["confirm"], reason=options["reason"]
                )
            done = erasure.run(erasure_id=asked.pk, tenant_id=tenant.pk)
        except DomainError as error:
            raise CommandError(error.message) from error
        paper = {**erasure.certificate(done), "digest": done.digest, "signature": done.signature}
        self.stdout.write(json.dumps(paper, indent=2, ensure_ascii=False))
