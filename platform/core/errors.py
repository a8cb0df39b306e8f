"""Errors of the domain. Each carries a stable `code`; the edges turn them into the shape of their surface."""

from __future__ import annotations


class DomainError(Exception):
    """Something that the caller asked for cannot be done; `message` says what was wrong and what to do."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code


class InvalidInput(DomainError):
    """What was given cannot be used; `field` names the part that is wrong."""

    code = "invalid"


class NotFound(DomainError):
    """No such object, or none that the caller may know of: the two are never told apart (L17)."""

    code = "not_found"


class NotAllowed(DomainError):
    """The caller may know the object but not do this with it."""

    code = "not_allowed"


class Conflict(DomainError):
    """The object is in a state in which this cannot be done, or somebody else was faster."""

    code = "conflict"


class Unavailable(DomainError):
    """Not now: something that is needed is down or full. Worth another try."""

    code = "unavailable"
