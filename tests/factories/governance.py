"""Exports, erasures and retention runs."""

from __future__ import annotations

import factory

from core import clock
from tenants.models import Erasure, RetentionRun, TenantExport
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory


class TenantExportFactory(WalledFactory):
    """An export that nobody has begun to make."""

    class Meta:
        model = TenantExport

    tenant = factory.SubFactory(TenantFactory)
    requested_by = "alice@acme.example"


class ErasureFactory(WalledFactory):
    """An erasure that nobody has begun."""

    class Meta:
        model = Erasure

    tenant = factory.SubFactory(TenantFactory)
    kind = "end_user"
    reason = "asked for it"
    requested_by = "person:x"


class RetentionRunFactory(factory.django.DjangoModelFactory):
    """A run that found nothing. No tenant's: one that is given is not looked at."""

    class Meta:
        model = RetentionRun

    class Params:
        tenant = None

    data_class = "call_logs"
    digest = "0" * 64
    ran_by = "tests"
    begun_at = factory.LazyFunction(clock.now)
    finished_at = factory.LazyFunction(clock.now)
