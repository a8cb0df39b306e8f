"""Events of the audit trail."""

from __future__ import annotations

from typing import Any

import factory

from audit.models import AuditChain, AuditEvent, AuditPending, AuditSeal
from audit.services.sealing import seal_chain
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
    """The link of an event, made by the sealer."""

    class Meta:
        model = AuditSeal

    tenant = factory.SubFactory(TenantFactory)

    @classmethod
    def _create(cls, model_class: type[Any], *args: Any, **kwargs: Any) -> Any:
        event = AuditEventFactory(tenant=kwargs["tenant"])
        seal_chain(event.tenant_id)
        with platform_scope(reason="tests"):
            return AuditSeal.objects.get(event_id=event.pk)


class AuditChainFactory(WalledFactory):
    """The head of a chain with at least one link."""

    class Meta:
        model = AuditChain

    tenant = factory.SubFactory(TenantFactory)

    @classmethod
    def _create(cls, model_class: type[Any], *args: Any, **kwargs: Any) -> Any:
        AuditSealFactory(tenant=kwargs["tenant"])
        with platform_scope(reason="tests"):
            return AuditChain.objects.get(tenant=kwargs["tenant"])
