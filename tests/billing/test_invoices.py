"""Invoices are the ledger to the nano-unit, final once closed, and numbered without a gap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from access import policies
from billing.invoicing import Line, Use, components_of, divide, finish
from billing.models import BillingEvent, Invoice, InvoiceLine
from billing.money import minor_text, plain, to_minor
from billing.selectors import invoices as selectors
from billing.selectors import ledger_view
from billing.selectors.ledger_view import Correction, Rates
from billing.services import invoices
from core.actors import Actor
from core.errors import Conflict, NotAllowed
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests import database
from tests.billing.settled import OCTOBER, record, settle
from tests.factories.tenants import TenantFactory

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
PRICE = UUID(int=77)


# --- Arithmetic -------------------------------------------------------------------------------------------------


@given(
    amount=st.integers(-(10**20), 10**20),
    weights=st.lists(st.fractions(0, 10**9), min_size=1, max_size=8).filter(lambda each: sum(each) > 0),
)
def test_parts_add_up_to_what_was_divided_and_each_is_its_share(amount: int, weights: list[Fraction]) -> None:
    parts = divide(amount, weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(amount) * weight / sum(weights)) < 1


@given(nano=st.integers(-(10**19), 10**19), currency=st.sampled_from(["CNY", "USD"]))
def test_rounding_goes_to_the_nearest_and_half_to_even(nano: int, currency: str) -> None:
    unit = 10**7  # a fen, a cent
    assert to_minor(nano, currency) == round(Fraction(nano, unit))
    assert to_minor(-nano, currency) == -to_minor(nano, currency)


def test_half_a_unit_goes_to_the_even_neighbour() -> None:
    halves = [5_000_000, 15_000_000, 25_000_000, -5_000_000, -15_000_000]
    assert [to_minor(nano, "CNY") for nano in halves] == [0, 2, 2, 0, -2]
    assert (minor_text(-2, "CNY"), plain(-15_000_000)) == ("-0.02", "-0.015")


@given(st.lists(st.integers(-(10**15), 10**15), max_size=30), st.sampled_from(["CNY", "USD"]))
def test_exact_amounts_add_up_to_the_ledger_and_rounded_ones_to_the_total(
    amounts: list[int], currency: str
) -> None:
    lines = [Line(0, "usage", date(2026, 10, 1), nano, 0) for nano in amounts]
    done, exact, total = finish(lines, currency)
    assert exact == sum(amounts) == sum(line.exact_nano for line in done)
    assert total == to_minor(sum(amounts), currency) == sum(line.amount_minor for line in done)
    assert [line.position for line in done] == list(range(1, len(done) + 1))
    assert len(done) <= len(lines) + 1


@given(
    counts=st.lists(st.integers(0, 10**12), min_size=6, max_size=6),
    rates=st.lists(st.integers(0, 10**12), min_size=6, max_size=6),
    charge=st.integers(0, 10**18),
)
def test_components_add_up_to_the_charge(counts: list[int], rates: list[int], charge: int) -> None:
    prompt, cached, *others = counts
    use = Use("m", charge, others[0], prompt + cached, cached, *others[1:])
    named = dict(zip(["input", "cached", "output", "calls", "gpu", "slots"], rates, strict=True))
    for given_rates in (named, None):
        found = components_of(use, given_rates)
        assert sum(nano for _quantity, nano in found.values()) == charge
        assert all(nano >= 0 for _quantity, nano in found.values())


# --- Months -----------------------------------------------------------------------------------------------------


@pytest.fixture
def machine_actor(machine: Actor) -> Actor:
    """The system."""
    return machine


def drafts(tenant: Tenant) -> list[Invoice]:
    """The drafts as they are made now."""
    with tenant_scope(tenant.pk):
        return invoices.ensure_drafts(tenant_id=tenant.pk)


def closed(tenant: Tenant, actor: Actor) -> list[Invoice]:
    """Everything closed that can be."""
    with tenant_scope(tenant.pk):
        return [
            invoices.close(invoice=draft, actor=actor)
            for draft in drafts(tenant)
            if draft.month < date(2026, 11, 1)
        ]


@pytest.mark.django_db
class TestMonth:
    """One month, from its first charge to its payment."""

    def test_a_draft_follows_the_charges_and_divides_them_by_what_was_priced(
        self, acme: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates = Rates(input_nano=2_000_000, output_nano=8_000_000, call_nano=100)
        monkeypatch.setattr(ledger_view, "rates_of", lambda ids: dict.fromkeys(ids, rates))
        settle(
            acme,
            record(acme, "a", price_id=PRICE, charge_nano=20 + 160 + 100),
            record(acme, "b", price_id=PRICE, charge_nano=20 + 160 + 101),
            record(acme, "c", model="other", charge_nano=5),
            record(acme, "d", model="free", charge_nano=0),
        )
        (draft,) = drafts(acme)
        with tenant_scope(acme.pk):
            lines = selectors.lines_of(draft)
        assert [(line.model, line.component, line.quantity) for line in lines] == [
            ("atrium-starter", "input", 20),
            ("atrium-starter", "output", 40),
            ("atrium-starter", "calls", 2),
            ("other", "whole", 1),
        ]
        assert sum(line.exact_nano for line in lines) == draft.total_nano == 566
        settle(acme, record(acme, "e", charge_nano=1_000_000_000))
        assert drafts(acme)[0].total_nano == 1_000_000_566

    def test_a_request_belongs_to_the_month_in_which_it_was_admitted(self, acme: Tenant) -> None:
        settle(
            acme,
            record(acme, "a", started_at=NOVEMBER - timedelta(microseconds=1), charge_nano=1),
            record(acme, "b", started_at=NOVEMBER, charge_nano=2),
        )
        assert [(draft.month.month, draft.total_nano) for draft in drafts(acme)] == [(10, 1), (11, 2)]

    def test_a_closed_invoice_is_final_for_postgresql_too(self, acme: Tenant, machine: Actor) -> None:
        settle(acme, record(acme, "a"))
        (invoice,) = closed(acme, machine)
        for statement in (
            "UPDATE billing_invoice SET total_nano = 0",
            "UPDATE billing_invoice SET state = 'draft', number = NULL",
            "DELETE FROM billing_invoice",
            "UPDATE billing_invoiceline SET amount_minor = 0",
            "DELETE FROM billing_invoiceline",
            "INSERT INTO billing_invoiceline (id, tenant_id, invoice_id, position, kind, model, component, period,"
            " quantity, exact_nano, amount_minor, note) SELECT gen_random_uuid(), tenant_id, invoice_id, 99, kind,"
            " model, component, period, quantity, exact_nano, amount_minor, note FROM billing_invoiceline",
        ):
            with (
                tenant_scope(acme.pk),
                pytest.raises(DatabaseError),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
        with tenant_scope(acme.pk):
            paid = invoices.mark_paid(invoice=invoice, actor=machine, payment_reference="wire 1")
            assert (paid.state, paid.payment_reference) == ("paid", "wire 1")
            with pytest.raises(Conflict):
                invoices.mark_paid(invoice=invoice, actor=machine, payment_reference="wire 2")
            assert list(BillingEvent.objects.order_by("id").values_list("type", flat=True)) == [
                "billing.invoice.closed",
                "billing.invoice.paid",
            ]

    def test_what_comes_in_late_is_on_the_next_invoice_and_nothing_twice(
        self, acme: Tenant, machine: Actor
    ) -> None:
        settle(acme, record(acme, "a", charge_nano=100))
        (october,) = closed(acme, machine)
        settle(
            acme, record(acme, "late", charge_nano=7), record(acme, "n", started_at=NOVEMBER, charge_nano=40)
        )
        (november,) = drafts(acme)
        with tenant_scope(acme.pk):
            lines = selectors.lines_of(november)
            assert [(line.kind, line.exact_nano) for line in lines] == [("usage", 40), ("late", 7)]
            behind = selectors.requests_behind(november, lines[1])
            assert [row.request_id for row in behind] == ["late"]
            october.refresh_from_db()
            assert october.total_nano == 100
            with time_machine.travel(datetime(2026, 12, 2, tzinfo=UTC), tick=False):
                invoices.close(invoice=november, actor=machine)
                settle(acme, record(acme, "d", started_at=datetime(2026, 12, 1, tzinfo=UTC), charge_nano=3))
                (december,) = drafts(acme)
            assert december.total_nano == 3

    def test_corrections_are_lines_of_their_own_on_one_invoice(
        self, acme: Tenant, machine: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        correction = Correction(UUID(int=5), OCTOBER + timedelta(days=3), "CNY", -40, "typing mistake")
        monkeypatch.setattr(
            ledger_view,
            "transactions_between",
            lambda *, tenant_id, begin, end: [correction] if begin <= correction.booked_at < end else [],
        )
        settle(
            acme, record(acme, "a", charge_nano=100), record(acme, "n", started_at=NOVEMBER, charge_nano=1)
        )
        (october,) = closed(acme, machine)
        assert october.total_nano == 60
        with tenant_scope(acme.pk):
            line = InvoiceLine.objects.get(kind="correction")
            assert (line.exact_nano, line.note) == (-40, "typing mistake")
            assert [draft.total_nano for draft in drafts(acme)] == [1]

    def test_a_month_that_is_not_over_or_not_its_turn_is_not_closed(
        self, acme: Tenant, machine: Actor
    ) -> None:
        september = OCTOBER - timedelta(days=3)
        settle(
            acme,
            record(acme, "a", started_at=september),
            record(acme, "b"),
            record(acme, "c", started_at=NOVEMBER),
        )
        first, second, third = drafts(acme)
        with tenant_scope(acme.pk), time_machine.travel(datetime(2026, 11, 5, tzinfo=UTC), tick=False):
            for early in (second, third):
                with pytest.raises(Conflict):
                    invoices.close(invoice=early, actor=machine)
            invoices.close(invoice=first, actor=machine)
            invoices.close(invoice=second, actor=machine)
            with pytest.raises(Conflict):
                invoices.close(invoice=second, actor=machine)

    def test_only_operators_close(self, acme: Tenant, alice: Any, actor_of: Callable[..., Actor]) -> None:
        settle(acme, record(acme, "a"))
        (draft,) = drafts(acme)
        owner = actor_of(alice, "owner")
        assert policies.can(owner, "billing.invoice.read")
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            invoices.close(invoice=draft, actor=owner)

    def test_the_schedule_waits_for_the_grace(self, acme: Tenant) -> None:
        settle(acme, record(acme, "a"))
        for hours, expected in ((23, 0), (24, 1), (25, 0)):
            with time_machine.travel(NOVEMBER + timedelta(hours=hours), tick=False):
                assert invoices.keep_up() == expected


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_three_schedulers_close_each_invoice_once_and_leave_no_gap_in_the_numbers() -> None:
    tenants = [TenantFactory() for _ in range(4)]
    for tenant in tenants:
        settle(tenant, record(tenant, "a"), record(tenant, "b", currency="USD"))
    start = threading.Barrier(3)
    failures: list[BaseException] = []

    def schedule() -> None:
        start.wait()
        try:
            invoices.keep_up()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=schedule) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    invoices.keep_up()
    assert failures == []
    with platform_scope("tests"):
        numbers = sorted(Invoice.objects.filter(state="closed").values_list("number", flat=True))
        assert [number.rpartition("-")[2] for number in numbers] == [f"{n:06d}" for n in range(1, 9)]
        assert InvoiceLine.objects.count() == 8
    database.empty_tables()
