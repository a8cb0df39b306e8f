"""What can go wrong with rules, each with a stable code."""

from __future__ import annotations

from core.errors import Conflict, InvalidInput, NotAllowed


class Outdated(Conflict):
    """Somebody else changed it since the caller looked: look again, then decide again."""

    code = "outdated"


class RuleRefused(InvalidInput):
    """A rule cannot be compiled; `rule` is its id."""

    code = "invalid_rule"

    def __init__(self, message: str, *, rule: str, field: str) -> None:
        super().__init__(message, field=field)
        self.rule = rule


class TooLoose(NotAllowed):
    """The platform does not let tenants loosen this rule, or not this far."""

    code = "too_loose"


class AlreadyDecided(Conflict):
    """Another person has approved or rejected the text already."""

    code = "already_decided"


class BrokenVersion(Exception):
    """The stored content of a published version is not what was published."""
