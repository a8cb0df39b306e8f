"""`manage.py audit_export FILE`: an audit trail with its proof, as a zip archive."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from audit import trail
from audit.bundle import bundle
from audit.services import record_export
from core.actors import system
from core.errors import DomainError
from core.scoping import platform_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    """Write the archive; a file that is there already is not overwritten."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.description = _("Write an audit trail with its proof into a zip archive.")
        parser.add_argument("file", type=Path, help=_("The archive to write."))
        parser.add_argument(
            "--tenant", metavar="SLUG", help=_("This tenant's; without it the platform's own.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        owner: UUID | None = None
        try:
            with platform_scope("audit_export"):
                if options["tenant"]:
                    owner = tenant_by_slug(slug=options["tenant"]).pk
                head = trail.chain(tenant_id=owner)
                actor = system("manage.py audit_export")
                record_export(actor=actor, tenant_id=owner, what="audit trail with proof")
            with options["file"].open("xb") as file:
                for piece in bundle(tenant_id=owner, last_sequence=head.sequence, last_hash=head.hash):
                    file.write(piece)
        except DomainError as error:
            raise CommandError(error.message) from None
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from None
        self.stdout.write(
            _("%(count)d links were written to %(file)s.") % {"count": head.sequence, "file": options["file"]}
        )
