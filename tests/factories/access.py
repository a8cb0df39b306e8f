"""API keys."""

from __future__ import annotations

import factory

from access import secrets
from access.models import APIKey
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory


class APIKeyFactory(WalledFactory):
    """A key that may call models. `secret=` gives it a known secret."""

    class Meta:
        model = APIKey

    class Params:
        secret = factory.LazyFunction(secrets.new_secret)

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"key {n}")
    prefix = factory.LazyAttribute(lambda key: secrets.prefix_of(key.secret))
    digest = factory.LazyAttribute(lambda key: secrets.digest(key.secret))
    scopes = factory.LazyFunction(lambda: ["invoke"])
