"""Kept answers of idempotent requests."""

from __future__ import annotations

from datetime import timedelta

import factory

from api.models import IdempotencyRecord
from core import clock
from core.encryption import encrypt, keyed_digest
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory


class IdempotencyRecordFactory(WalledFactory):
    """The answer to some POST of a tenant; `tenant=None` makes it an operator's."""

    class Meta:
        model = IdempotencyRecord

    tenant = factory.SubFactory(TenantFactory)
    key_digest = factory.Sequence(lambda n: keyed_digest("tests", f"key {n}"))
    request_digest = factory.Sequence(lambda n: keyed_digest("tests", f"request {n}"))
    status = 201
    body = factory.LazyFunction(lambda: encrypt("idempotency", "{}"))
    expires_at = factory.LazyFunction(lambda: clock.now() + timedelta(hours=24))
