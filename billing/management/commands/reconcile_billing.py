"""`manage.py reconcile_billing`: engine counters, usage records, ledger and invoices side by side."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from billing.models import ReconciliationState
from billing.services import reconciliation
from core.actors import system
from core.errors import DomainError


class Command(BaseCommand):
    """Compare, print each difference; the exit status is 1 when there is one."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.description = _(
            "Compare engine counters, usage records, ledger and invoices, and print each difference."
        )
        parser.add_argument(
            "--since", metavar="YYYY-MM-DD", help=_("First day, UTC. Without it: two days ago.")
        )
        parser.add_argument("--until", metavar="YYYY-MM-DD", help=_("The day after the last one."))

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and print the report."""
        begin, end = reconciliation.yesterday()
        begin = _day(options["since"]) or begin
        end = _day(options["until"]) or end
        try:
            report = reconciliation.run(begin=begin, end=end, actor=system("manage.py reconcile_billing"))
        except DomainError as error:
            raise CommandError(error.message) from None
        for row in report.differences.all():
            self.stdout.write(
                f"{row.get_kind_display()}: {row.subject} {row.measure}: {row.left} / {row.right} ({row.cause_text})"
            )
        if report.state == ReconciliationState.DIFFERENT:
            raise CommandError(_("There are differences."), returncode=1)
        self.stdout.write(
            _("Balanced: %(count)d comparisons without a difference.") % {"count": report.checks}
        )


def _day(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise CommandError(_("Give a day as YYYY-MM-DD.")) from None
