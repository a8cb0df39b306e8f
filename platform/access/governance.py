"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from uuid import UUID

from django.utils.translation import gettext_lazy as _

from access.models import APIKey
from access.services.usage import KEY_USE
from core.governance import Counts, DataClass, register
from core.scoping import platform_scope
from core.valkey import sync_client


def forget_use(tenant_id: UUID) -> Counts:
    """Drop the times of last use that wait in Valkey."""
    with platform_scope("governance.erase"):
        keys = [str(pk) for pk in APIKey.objects.filter(tenant_id=tenant_id).values_list("pk", flat=True)]
    return {KEY_USE: int(sync_client().hdel(KEY_USE, *keys)) if keys else 0}


def declare() -> None:
    """Put them into the catalogue."""
    register(
        DataClass(
            name="api_keys",
            title=_("API keys"),
            holds=_("Names, scopes and bounds of keys, and keyed digests of their secrets."),
            retained=_("Until the tenant is closed, revoked ones too: call logs name them."),
            models=("access.APIKey",),
            keys=("atrium:key-use",),
            secret_fields=frozenset({"digest"}),
            erase=forget_use,
        )
    )
