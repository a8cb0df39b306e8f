"""Usage records."""

from __future__ import annotations

from datetime import timedelta

import factory

from billing.models import Outcome, UsageRecord
from core import clock
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory


class UsageRecordFactory(WalledFactory):
    """A request of a tenant that was answered in full."""

    class Meta:
        model = UsageRecord

    tenant = factory.SubFactory(TenantFactory)
    request_id = factory.Sequence(lambda n: f"req-{n}")
    model = "atrium-starter"
    outcome = Outcome.COMPLETED
    finished_at = factory.LazyFunction(clock.now)
    started_at = factory.LazyAttribute(lambda row: row.finished_at - timedelta(seconds=1))
