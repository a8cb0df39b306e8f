"""What can go wrong with API keys, each with a stable code."""

from __future__ import annotations

from core.errors import Conflict, NotAllowed


class ScopeTooWide(NotAllowed):
    """The new key would open more than its maker may."""

    code = "scope_too_wide"


class KeyNotActive(Conflict):
    """The key is revoked or expired, so it cannot be rotated."""

    code = "key_not_active"


class KeyAlreadyRotated(Conflict):
    """A newer key has taken this one's place already."""

    code = "key_already_rotated"
