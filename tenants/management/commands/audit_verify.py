"""`manage.py audit_verify`: the audit trail against itself and against what was signed."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from audit import trail, words
from audit.proof.verify import read_public_key
from audit.services import verification
from audit.services.verification import Verified
from core.errors import DomainError
from core.scoping import platform_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    """Verify, name each place that is wrong; the exit status is 1 when there is one."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.description = _("Verify the audit trails of all tenants and of the platform, link by link.")
        parser.add_argument("--tenant", metavar="SLUG", help=_("This tenant's trail alone."))
        parser.add_argument("--platform", action="store_true", help=_("The platform's own trail alone."))
        parser.add_argument(
            "--since",
            metavar="TIME",
            help=_("Begin behind the last checkpoint that was signed by then: YYYY-MM-DD or RFC 3339, UTC."),
        )
        parser.add_argument(
            "--public-key", help=_("The key to trust in place of the configured one, base64.")
        )
        parser.add_argument("--json", action="store_true", help=_("Print the report as JSON."))

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and print the report."""
        since = _moment(options["since"])
        try:
            anchors = [read_public_key(options["public_key"])] if options["public_key"] else []
        except ValueError as error:
            raise CommandError(_("This is no public key.")) from error
        found = []
        for owner in _owners(options):
            with platform_scope("audit_verify"):
                found.append(verification.verify(tenant_id=owner, since=since, anchors=anchors))
        is_whole = all(each.report.is_whole for each in found)
        if options["json"]:
            chains = [{"chain": each.chain, "first": each.first, **each.report.as_json()} for each in found]
            self.stdout.write(json.dumps({"is_whole": is_whole, "chains": chains}))
        else:
            for each in found:
                self._print(each)
        if not is_whole:
            raise CommandError(_("The audit trail was tampered with."), returncode=1)

    def _print(self, verified: Verified) -> None:
        report = verified.report
        self.stdout.write(
            _("%(chain)s: %(links)d links, %(checkpoints)d checkpoints; signed and sound through %(good)d.")
            % {
                "chain": verified.chain,
                "links": report.links,
                "checkpoints": report.checkpoints,
                "good": report.last_good_sequence,
            }
        )
        for each in report.findings:
            place = [str(each.sequence)] if each.sequence else []
            place += [words.event_of(each)] if each.event else []
            detail = f" ({each.detail})" if each.detail else ""
            self.stdout.write(f"  {each.kind} {' '.join(place)}: {words.sentence(each)}{detail}")
        if report.left_out:
            self.stdout.write("  " + _("and %(count)d more") % {"count": report.left_out})


def _owners(options: dict[str, Any]) -> list[UUID | None]:
    try:
        with platform_scope("audit_verify"):
            owners: list[UUID | None] = [None] if options["platform"] else []
            if options["tenant"]:
                owners.append(tenant_by_slug(slug=options["tenant"]).pk)
            return owners or trail.chains()
    except DomainError as error:
        raise CommandError(error.message) from None


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(_("Give a time as YYYY-MM-DD or as RFC 3339.")) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
