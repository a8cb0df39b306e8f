"""What the platform keeps for its own working, in the catalogue for completeness: ids and times, no content."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from core.governance import DataClass, register


def declare() -> None:
    """Put it into the catalogue."""
    register(
        DataClass(
            name="plumbing",
            title=_("The platform's own working data"),
            holds=_(
                "Events that something changed, schedules, messages for jobs, the cache: ids and times only."
            ),
            retained=_("Seconds to hours; each kind is bounded in length or ends by itself."),
            keys=("atrium:events", "atrium:celery:*", "atrium:beat:*", "atrium:cache*"),
            kept=_("It names no person and holds no content."),
            exported=False,
        )
    )
