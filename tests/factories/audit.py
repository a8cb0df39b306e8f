"""Events of the audit trail."""

from __future__ import annotations

import factory

from audit.models import AuditEvent
from tests.factories.base import WalledFactory
from tests.factories.tenants import TenantFactory


class AuditEventFactory(WalledFactory):
    """Something that the tests did in a tenant; `tenant=None` makes it the platform's."""

    class Meta:
        model = AuditEvent

    tenant = factory.SubFactory(TenantFactory)
    action = "tests.thing.done"
    actor_kind = "system"
    actor_label = "tests"
