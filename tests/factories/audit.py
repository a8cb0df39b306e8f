"""Events of the audit trail."""

from __future__ import annotations

from typing import Any

import factory

from audit.models import AuditChain, AuditEvent, AuditPending, AuditSeal
from core import clock
from core.ids import new_id
from core.scoping import platform_scope
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


class AuditPendingFactory(WalledFactory):
    """An event that waits for its seal: PostgreSQL makes the row, nobody else may."""

    class Meta:
        model = AuditPending

    tenant = factory.SubFactory(TenantFactory)

    @classmethod
    def _create(cls, model_class: type[Any], *args: Any, **kwargs: Any) -> Any:
        event = AuditEventFactory(tenant=kwargs["tenant"])
        with platform_scope(reason="tests"):
            return AuditPending.objects.get(pk=event.pk)


class AuditSealFactory(WalledFactory):
    """A link as it looks; what makes it true is the sealer's."""

    class Meta:
        model = AuditSeal

    tenant = factory.SubFactory(TenantFactory)
    sequence = factory.Sequence(lambda n: n + 1)
    event_id = factory.LazyFunction(new_id)
    event_digest = "0" * 64
    hash = "0" * 64
    sealed_at = factory.LazyFunction(clock.now)


class AuditChainFactory(WalledFactory):
    """The head of a chain without links."""

    class Meta:
        model = AuditChain

    tenant = factory.SubFactory(TenantFactory)
    hash = "0" * 64
