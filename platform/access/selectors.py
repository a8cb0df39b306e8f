"""Reads of API keys: inside a tenant's scope, and the one lookup that comes before any scope."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from access import secrets
from access.models import APIKey, KeyState
from core import clock
from core.errors import NotFound
from core.ids import parse_public_id
from core.scoping import key_scope

# How far back a line of rotated keys is followed.
MOST_ROTATIONS = 1_000


def keys() -> QuerySet[APIKey]:
    """The active tenant's keys, newest first, with the people who made them."""
    return APIKey.objects.select_related("created_by")


def in_state(rows: QuerySet[APIKey], state: str) -> QuerySet[APIKey]:
    """Of some keys those that stand so now; revocation outranks expiry, as in APIKey.state."""
    now = clock.now()
    revoked, expired = Q(revoked_at__lte=now), Q(expires_at__lte=now)
    wanted = {
        KeyState.REVOKED: revoked,
        KeyState.EXPIRED: expired & ~revoked,
        KeyState.ACTIVE: ~revoked & ~expired,
    }
    return rows.filter(wanted[KeyState(state)])


def key_by_id(*, key_id: UUID) -> APIKey:
    """One key of the active tenant. Raises NotFound, for another tenant's key too."""
    key = keys().filter(pk=key_id).first()
    if key is None:
        raise NotFound(_("There is no such API key."))
    return key


def key_by_public_id(*, public_id: str) -> APIKey:
    """One key of the active tenant by its `key_…` id. Raises NotFound, for another tenant's key too."""
    try:
        key_id = parse_public_id(public_id, APIKey.id_prefix)
    except ValueError:
        raise NotFound(_("There is no such API key.")) from None
    return key_by_id(key_id=key_id)


def key_line(*, key: APIKey) -> list[UUID]:
    """The keys that `key` was rotated from and into, itself included, oldest first; inside the tenant's scope.

    One query for each key before it and one for each after it but the last; a key that was never rotated costs one.
    """
    line = [key.pk]
    while len(line) < MOST_ROTATIONS:
        before = APIKey.objects.filter(rotated_to_id=line[0]).values_list("pk", flat=True).first()
        if before is None or before in line:
            break
        line.insert(0, before)
    after = key.rotated_to_id
    while after is not None and after not in line and len(line) < 2 * MOST_ROTATIONS:
        line.append(after)
        after = APIKey.objects.filter(pk=after).values_list("rotated_to_id", flat=True).first()
    return line


def key_by_secret(secret: str) -> APIKey | None:
    """The key that `secret` is, whatever its tenant and state; none for text that is no key of ours.

    Needs no scope. A mistyped key costs no query; else one transaction with one indexed read. The caller
    checks state, networks and the tenant's status, the last inside the key's tenant's scope: from here the
    tenant's row is not visible.
    """
    if not secrets.looks_right(secret):
        return None
    digest = secrets.digest(secret)
    with key_scope(digest):
        return APIKey.unscoped.filter(digest=digest).first()
