"""What may be given when a key is made: each function returns the stored form or says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from django.utils.translation import gettext as _

from access.models import Scope
from access.networks import normalise_networks
from core import clock
from core.errors import InvalidInput

MAX_NAME_LENGTH = 100
MAX_MODELS = 100
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}", re.ASCII)


def clean_name(name: str) -> str:
    """A name of 1 to 100 printable characters."""
    cleaned = " ".join(name.split())
    if not cleaned:
        raise InvalidInput(_("Give the key a name, so that people know what it is for."), field="name")
    if len(cleaned) > MAX_NAME_LENGTH or not cleaned.isprintable():
        raise InvalidInput(
            _("A name has at most %(count)d printable characters.") % {"count": MAX_NAME_LENGTH}, field="name"
        )
    return cleaned


def clean_scopes(scopes: Iterable[str]) -> list[str]:
    """Known scopes, in the order of `Scope`, at least one."""
    wanted = set(_texts(scopes, "scopes"))
    unknown = wanted - set(Scope.values)
    if unknown:
        raise InvalidInput(
            _("“%(scope)s” is not a scope. There are: %(known)s.")
            % {"scope": min(unknown)[:50], "known": ", ".join(Scope.values)},
            field="scopes",
        )
    if not wanted:
        raise InvalidInput(_("A key needs at least one scope."), field="scopes")
    return [scope for scope in Scope.values if scope in wanted]


def clean_models(names: Iterable[str]) -> list[str]:
    """Public names of models, without repeats. Whether they exist is not asked: one may come later."""
    listed = list(dict.fromkeys(_texts(names, "allowed_models")))
    for name in listed:
        if _MODEL_NAME.fullmatch(name) is None:
            raise InvalidInput(
                _("“%(name)s” cannot be the name of a model.") % {"name": name[:50]}, field="allowed_models"
            )
    if len(listed) > MAX_MODELS:
        raise InvalidInput(
            _("At most %(count)d models can be listed.") % {"count": MAX_MODELS}, field="allowed_models"
        )
    return listed


def clean_networks(networks: Iterable[str]) -> list[str]:
    """Networks in CIDR notation, in one spelling each."""
    return normalise_networks(_texts(networks, "allowed_networks"))


def clean_expiry(expires_at: datetime | None) -> datetime | None:
    """A time to come, with a time zone."""
    if expires_at is None:
        return None
    if expires_at.tzinfo is None:
        raise InvalidInput(_("The time of expiry needs a time zone."), field="expires_at")
    if expires_at <= clock.now():
        raise InvalidInput(_("The time of expiry lies in the past."), field="expires_at")
    return expires_at


def _texts(values: Iterable[str], field: str) -> list[str]:
    # A lone string is iterable too: "invoke" would become six scopes of one letter.
    listed = [values] if isinstance(values, str) else list(values)
    if not all(isinstance(value, str) for value in listed):
        raise InvalidInput(_("A list of texts is needed here."), field=field)
    return listed
