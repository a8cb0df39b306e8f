"""What a check found: fine, worth a look, or in the way; and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from django.utils.translation import gettext as _

from observability.redaction import redact_text

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `advice` is empty when there is nothing to do."""

    level: Level
    area: str
    message: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def run(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """Run every check; one that breaks is a problem of its own and stops none of the others."""
    for area, check in checks:
        try:
            for finding in check():
                # Messages quote errors, and errors quote addresses with passwords in them.
                yield replace(finding, message=redact_text(finding.message))
        except Exception as error:  # the doctor reports on broken surroundings: anything may break
            said = redact_text(str(error)).strip().split("\n")[0] or type(error).__name__
            yield Finding(
                "problem",
                area,
                _("This could not be checked: %(error)s") % {"error": said},
                _("Mend what the message names, then run the doctor again."),
            )
