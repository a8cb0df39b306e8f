"""What people are told whose text a rule refused."""

from __future__ import annotations

from django.utils import translation
from django.utils.translation import gettext as _

from safety.guarded import Guarded
from safety.spec import Action, Direction, Verdict


def sentence(guarded: Guarded, refused: Verdict) -> str:
    """The tenant's own sentence, or the platform's in the tenant's language. Never says what was found, or where."""
    if guarded.refusal_message:
        return guarded.refusal_message
    with translation.override(guarded.language or None):
        if refused.action is Action.REVIEW:
            return _(
                "This text waits for a person to look at it. Ask your administrator, or change it and try again."
            )
        if refused.direction is Direction.IN:
            return _(
                "This request was refused by a safety rule of your organisation. Change the text and try again."
            )
        return _("The rest of this answer was withheld by a safety rule of your organisation.")


def unavailable(guarded: Guarded | None) -> str:
    """While no rules can be applied, and the tenant wants nothing to pass then."""
    with translation.override((guarded.language if guarded else "") or None):
        return _("Texts cannot be checked at the moment, so nothing is let through. Try again shortly.")
