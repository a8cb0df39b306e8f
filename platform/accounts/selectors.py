"""Reads of accounts."""

from __future__ import annotations

from django.utils.translation import gettext as _

from accounts.models import User, normalise_email
from core.errors import NotFound
from core.ids import parse_public_id


def user_by_email(*, email: str) -> User:
    """The account of an e-mail address. Raises NotFound."""
    user = User.objects.filter(email=normalise_email(email)).first()
    if user is None:
        raise NotFound(_("There is no account with this e-mail address."))
    return user


def user_by_public_id(*, public_id: str) -> User:
    """An account by its `usr_…` id. Raises NotFound."""
    try:
        user = User.objects.filter(pk=parse_public_id(public_id, User.id_prefix)).first()
    except ValueError:
        user = None
    if user is None:
        raise NotFound(_("There is no such account."))
    return user
