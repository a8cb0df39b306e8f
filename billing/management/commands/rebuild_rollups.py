"""`manage.py rebuild_rollups`: makes the roll-ups of a month anew from the usage records."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from billing.services import rollups


class Command(BaseCommand):
    """Rebuild; records that are being written wait for their own tenant's turn and are counted once."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.description = _(
            "Make the usage roll-ups of a month (UTC) anew from the usage records, for every tenant."
        )
        parser.add_argument("--month", required=True, metavar="YYYY-MM", help=_("The month, UTC."))

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and say for how many."""
        try:
            month = datetime.strptime(options["month"], "%Y-%m").replace(tzinfo=UTC).date()
        except ValueError:
            raise CommandError(_("Give the month as YYYY-MM.")) from None
        count = rollups.rebuild_all(month=month)
        self.stdout.write(
            _("Roll-ups of %(month)s are rebuilt for %(count)d tenants.")
            % {"month": options["month"], "count": count}
        )
