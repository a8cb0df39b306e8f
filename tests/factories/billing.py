"""Usage records and money."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import factory
from django.db import transaction

from billing.models import (
    Account,
    AccountKind,
    Correction,
    EscrowEpoch,
    LedgerEntry,
    LedgerTransaction,
    Outcome,
    Payment,
    Price,
    PricePlan,
    PricePlanVersion,
    PriceSubscription,
    UsageCounter,
    UsageRecord,
)
from billing.money import NANO
from billing.services import ledger
from core import clock
from core.actors import system
from core.scoping import platform_scope
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


class PricePlanFactory(factory.django.DjangoModelFactory):
    """A plan in CNY; with `tenant` one that this tenant subscribes to."""

    class Meta:
        model = PricePlan

    slug = factory.Sequence(lambda n: f"plan-{n}")
    name = factory.Sequence(lambda n: f"Plan {n}")
    currency = "CNY"

    @classmethod
    def _create(cls, model_class: Any, *args: Any, tenant: Any = None, **kwargs: Any) -> Any:
        plan = super()._create(model_class, *args, **kwargs)
        if tenant is not None:
            PriceSubscriptionFactory(tenant=tenant, plan=plan)
        return plan


class PricePlanVersionFactory(factory.django.DjangoModelFactory):
    """A version in force now, with one price for every model; with `tenant` of a plan that it subscribes to."""

    class Meta:
        model = PricePlanVersion

    plan = factory.SubFactory(PricePlanFactory)
    number = factory.Sequence(lambda n: n + 1)
    valid_from = factory.LazyFunction(clock.now)

    @classmethod
    def _create(cls, model_class: Any, *args: Any, tenant: Any = None, **kwargs: Any) -> Any:
        with transaction.atomic():  # prices join a version in its own transaction only
            version = super()._create(model_class, *args, **kwargs)
            Price.objects.create(
                version=version, model="*", input_nano=NANO, output_nano=2 * NANO + NANO // 2
            )
        if tenant is not None:
            PriceSubscriptionFactory(tenant=tenant, plan=version.plan)
        return version


class PriceSubscriptionFactory(WalledFactory):
    """A tenant that is charged by a plan from now on."""

    class Meta:
        model = PriceSubscription

    tenant = factory.SubFactory(TenantFactory)
    plan = factory.SubFactory(PricePlanFactory)
    valid_from = factory.LazyFunction(clock.now)


class AccountFactory(WalledFactory):
    """An empty wallet."""

    class Meta:
        model = Account

    tenant = factory.SubFactory(TenantFactory)
    kind = AccountKind.WALLET
    currency = "USD"


class LedgerTransactionFactory(WalledFactory):
    """Ten currency units that were given to a tenant, with both entries."""

    class Meta:
        model = LedgerTransaction

    tenant = factory.SubFactory(TenantFactory)

    @classmethod
    def _create(cls, model_class: Any, *args: Any, tenant: Any, **kwargs: Any) -> Any:
        with platform_scope(reason="tests"):
            made = ledger.move(
                tenant_id=tenant.pk,
                code="CNY",
                kind="credit",
                sides={AccountKind.CREDIT: -10 * NANO, AccountKind.WALLET: 10 * NANO},
                actor=system("tests"),
            )
            return LedgerTransaction.objects.get(pk=made)


class LedgerEntryFactory(WalledFactory):
    """One side of such a transaction."""

    class Meta:
        model = LedgerEntry

    tenant = factory.SubFactory(TenantFactory)

    @classmethod
    def _create(cls, model_class: Any, *args: Any, tenant: Any, **kwargs: Any) -> Any:
        made = LedgerTransactionFactory(tenant=tenant)
        with platform_scope(reason="tests"):
            return LedgerEntry.objects.filter(transaction=made).first()


class EscrowEpochFactory(WalledFactory):
    """A run of Valkey for which nothing was set aside."""

    class Meta:
        model = EscrowEpoch

    tenant = factory.SubFactory(TenantFactory)
    epoch = factory.Sequence(lambda n: f"run-{n}")
    currency = "CNY"


class UsageCounterFactory(WalledFactory):
    """Nothing used yet this month."""

    class Meta:
        model = UsageCounter

    tenant = factory.SubFactory(TenantFactory)
    month = factory.LazyFunction(lambda: clock.now().date().replace(day=1))
    plan = factory.SubFactory(PricePlanFactory)
    model = "*"


class PaymentFactory(WalledFactory):
    """A bank transfer that is to come."""

    class Meta:
        model = Payment

    tenant = factory.SubFactory(TenantFactory)
    provider = "manual"
    reference = factory.Sequence(lambda n: f"transfer-{n}")
    amount_nano = 10 * NANO
    currency = "CNY"
    created_by = "tests"


class CorrectionFactory(WalledFactory):
    """One currency unit that somebody asks for."""

    class Meta:
        model = Correction

    tenant = factory.SubFactory(TenantFactory)
    amount_nano = NANO
    currency = "CNY"
    reason = "a mistake"
    requested_by = "tests"
