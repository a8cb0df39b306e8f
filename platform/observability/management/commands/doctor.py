"""`manage.py doctor`: checks a configuration and says what to change."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import translation
from django.utils.translation import gettext as _

from observability.doctor import database, machine, services, settings
from observability.doctor.findings import Check, Finding, run

CHECKS: tuple[tuple[str, Check], ...] = (
    ("secrets", settings.check_secrets),
    ("settings", settings.check_switches),
    ("database", database.check_database),
    ("valkey", services.check_valkey),
    ("celery", services.check_celery),
    ("models", machine.check_model_roots),
    ("engine", machine.check_engine),
    ("developer", machine.check_tools),
    ("disk", machine.check_disk),
)


def wanted_language(name: str) -> str:
    """The language to report in: the one asked for, else the terminal's."""
    locale = name or os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh-hans" if locale.lower().startswith("zh") else "en"


class Command(BaseCommand):
    """Prints one line per finding; exit code 1 when there is a problem."""

    help = "Check this configuration and say what to change."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """`--json` for programs, `--language` for people."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--language", default="", help="en or zh-hans (default: the terminal's)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the checks and report."""
        with translation.override(wanted_language(options["language"])):
            findings = list(run(CHECKS))
            if options["json"]:
                self._print_json(findings)
            else:
                self._print_lines(findings)
        if any(finding.level == "problem" for finding in findings):
            raise SystemExit(1)

    def _print_json(self, findings: list[Finding]) -> None:
        report = {
            "healthy": all(finding.level != "problem" for finding in findings),
            "findings": [asdict(finding) for finding in findings],
        }
        self.stdout.write(json.dumps(report, ensure_ascii=False, indent=2))

    def _print_lines(self, findings: list[Finding]) -> None:
        labels = {"ok": _("ok"), "warning": _("warning"), "problem": _("problem")}
        styles = {"ok": self.style.SUCCESS, "warning": self.style.WARNING, "problem": self.style.ERROR}
        for finding in findings:
            label = styles[finding.level](f"[{labels[finding.level]}]")
            self.stdout.write(f"{label} {finding.area}: {finding.message}")
            if finding.advice:
                self.stdout.write(f"    → {finding.advice}")
        problems = sum(finding.level == "problem" for finding in findings)
        warnings = sum(finding.level == "warning" for finding in findings)
        self.stdout.write(
            _("%(problems)d problems, %(warnings)d warnings.") % {"problems": problems, "warnings": warnings}
        )
