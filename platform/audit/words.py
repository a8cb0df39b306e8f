"""What verification found, in words for people."""

from __future__ import annotations

from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from audit.proof.verify import Finding, shown

SENTENCES: Final[dict[str, Promise | str]] = {
    "edited": _("The event was changed after it was sealed."),
    "deleted": _("The event was removed."),
    "missing": _("Links were removed."),
    "inserted": _("The event was put in past the platform."),
    "broken": _("The link does not continue the one before it."),
    "reordered": _("The link stands in another place than it was sealed in."),
    "truncated": _("The end of the trail was cut off."),
    "rewritten": _("The links continue each other, but differ from what was signed."),
    "fork": _("There are two histories."),
    "unsealed": _("The event has not been sealed for too long: look whether the jobs worker runs."),
    "uncovered": _("The link has not been signed for too long, or its checkpoint was removed."),
    "bad_signature": _("The signature of the checkpoint is wrong."),
    "unknown_key": _("The checkpoint is signed by a key that is not trusted."),
    "bad_key": _("The record of a key is not signed as it must be."),
    "foreign_checkpoint": _("A checkpoint of another chain stands among the checkpoints."),
    "checkpoint_gap": _("Checkpoints were removed or put in before this one."),
    "skewed": _("Note: the event's own time is far from its sealing; a clock was wrong."),
    "unreadable": _("Note: a line of the checkpoints cannot be read, as a crash leaves it."),
}


def sentence(found: Finding) -> str:
    """What is wrong, in the reader's language."""
    return str(SENTENCES[found.kind])


def event_of(found: Finding) -> str:
    """The event's public id, or an empty text."""
    return shown(found.event) if found.event else ""
