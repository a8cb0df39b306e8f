"""Roll-ups, budgets, invoices, reconciliations."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import factory

from billing.models import (
    BillingEvent,
    Budget,
    BudgetAlert,
    EngineTotal,
    Grain,
    Invoice,
    InvoiceLine,
    Outcome,
    Reconciliation,
    TagRollup,
    UsageRollup,
)
from tests.factories.base import WalledFactory
from tests.factories.billing import UsageRecordFactory
from tests.factories.tenants import TenantFactory

OCTOBER = date(2026, 10, 1)


class UsageRollupFactory(WalledFactory):
    """A bucket of a model that no request has."""

    class Meta:
        model = UsageRollup

    tenant = factory.SubFactory(TenantFactory)
    grain = Grain.DAY
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    model = factory.Sequence(lambda n: f"model-{n}")
    outcome = Outcome.COMPLETED
    requests = 1


class TagRollupFactory(WalledFactory):
    """The same of a tag."""

    class Meta:
        model = TagRollup

    tenant = factory.SubFactory(TenantFactory)
    grain = Grain.DAY
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    model = factory.Sequence(lambda n: f"model-{n}")
    name = "team"
    value = "a"
    requests = 1


class BudgetFactory(WalledFactory):
    """A thousand tokens a month."""

    class Meta:
        model = Budget

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"budget {n}")
    scope = "tenant"
    limit_tokens = 1000
    thresholds = factory.LazyFunction(lambda: [50, 80, 100])


class BudgetAlertFactory(WalledFactory):
    """Half of it is used."""

    class Meta:
        model = BudgetAlert

    tenant = factory.SubFactory(TenantFactory)
    budget = factory.SubFactory(BudgetFactory, tenant=factory.SelfAttribute("..tenant"))
    period = OCTOBER
    threshold = 50
    spent = 500
    limit = 1000


class BillingEventFactory(WalledFactory):
    """Something happened."""

    class Meta:
        model = BillingEvent

    tenant = factory.SubFactory(TenantFactory)
    type = "billing.budget.threshold_reached"
    payload = factory.LazyFunction(dict)


class InvoiceFactory(WalledFactory):
    """A draft of October with one charged request behind it."""

    class Meta:
        model = Invoice
        skip_postgeneration_save = True

    tenant = factory.SubFactory(TenantFactory)
    month = OCTOBER
    currency = "CNY"

    @factory.post_generation
    def charged(self: Any, create: bool, given: Any, **_: Any) -> None:
        """The request; `charged=False` leaves it out."""
        if create and given is not False:
            UsageRecordFactory(
                tenant=self.tenant,
                finished_at=datetime(self.month.year, self.month.month, 7, tzinfo=UTC),
                charge_nano=1_234_567_890,
                hold_nano=2_000_000_000,
                currency=self.currency,
            )


class InvoiceLineFactory(WalledFactory):
    """A line, as closing writes it."""

    class Meta:
        model = InvoiceLine

    tenant = factory.SubFactory(TenantFactory)
    # Of another month than InvoiceFactory's own: a tenant has one invoice a month and currency.
    invoice = factory.SubFactory(
        InvoiceFactory,
        tenant=factory.SelfAttribute("..tenant"),
        month=date(2026, 9, 1),
        charged=False,
    )
    position = 1
    kind = "usage"
    component = "output"
    model = "atrium-starter"
    period = OCTOBER
    exact_nano = 1_234_567_890
    amount_minor = 123


class ReconciliationFactory(WalledFactory):
    """A comparison without a difference. No tenant's: one that is given is not looked at."""

    class Meta:
        model = Reconciliation

    class Params:
        tenant = None

    begin = datetime(2026, 10, 1, tzinfo=UTC)
    end = datetime(2026, 10, 2, tzinfo=UTC)
    state = "balanced"
    checks = 1
    ran_by = "tests"


class EngineTotalFactory(WalledFactory):
    """A replica that has served one request."""

    class Meta:
        model = EngineTotal

    replica = factory.Sequence(lambda n: f"node/{n}")
    begun_at = datetime(2026, 10, 1, tzinfo=UTC)
    requests = 1
