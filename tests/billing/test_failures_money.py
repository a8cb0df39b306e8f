"""The failures that cost users of other systems money (F02, F11 to F15), each on many real connections."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from billing.errors import AmountRefused, KeyReused
from billing.models import Account, AccountKind, LedgerTransaction, PaymentState, UsageRecord
from billing.money import MAX_NANO, NANO
from billing.services import corrections, escrow, ledger, prices, wallets
from billing.services.settlement import settle
from core import clock
from core.actors import Actor
from core.errors import Conflict, NotAllowed
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests.billing import world
from tests.billing.threads import at_once
from tests.billing.world import COST, EPOCH, MACHINE, balances, charges, note
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


def grants_in(results: list[Any]) -> list[escrow.Grant]:
    """The grants among results; nothing may have failed."""
    assert [result for result in results if isinstance(result, Exception)] == []
    return [result for result in results if result is not None]


@pytest.mark.slow
def test_f01_a_wallet_for_exactly_so_many_grants_gives_exactly_so_many(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 50 * COST)
    with pytest.MonkeyPatch.context() as patch:
        # Slices of one request each, so that every grant meets every other.
        patch.setattr(escrow, "SLICE_REQUESTS", 1)
        patch.setattr(escrow, "SLICE_PART", MAX_NANO)
        ask = partial(escrow.grant, tenant_id=acme.pk, epoch=EPOCH, need_nano=COST)
        grants = grants_in(at_once([ask] * 80))
    assert sum(grant.amount_nano for grant in grants) == 50 * COST
    assert len(grants) == 50
    assert balances(acme) == {"credit": -50 * COST, "escrow": 50 * COST}
    world.assert_sound(acme)


@pytest.mark.slow
def test_f02_many_first_requests_make_one_set_of_accounts(acme: Tenant) -> None:
    world.priced(acme)
    ask = partial(escrow.grant, tenant_id=acme.pk, epoch=EPOCH, need_nano=1)
    assert grants_in(at_once([ask] * 16)) == []
    with platform_scope("tests"):
        kinds = Counter(Account.objects.values_list("kind", flat=True))
    assert kinds == Counter(AccountKind.values)


@pytest.mark.slow
def test_f02_many_first_grants_of_a_credit_line_stay_within_it(acme: Tenant) -> None:
    world.priced(acme)
    world.credit_line(acme, 7 * COST)
    ask = partial(escrow.grant, tenant_id=acme.pk, epoch=EPOCH, need_nano=COST)
    grants = grants_in(at_once([ask] * 32))
    assert sum(grant.amount_nano for grant in grants) == 7 * COST
    assert balances(acme) == {"wallet": -7 * COST, "escrow": 7 * COST}


@pytest.mark.slow
def test_f11_writers_of_every_kind_at_once_neither_deadlock_nor_lose_anything() -> None:
    tenants = [TenantFactory(slug=f"tenant-{letter}") for letter in "abc"]
    work: list[Any] = []
    for tenant in tenants:
        world.priced(tenant)
        world.fund(tenant, 1_000 * COST)
        world.granted(tenant, 400 * COST)
    held = {"hold_nano": 2 * COST, "epoch": EPOCH}
    prices_of = {tenant.pk: world.price_id(tenant) for tenant in tenants}
    for number in range(6):
        # Batches of several tenants, each in another order.
        rotated = tenants[number % 3 :] + tenants[: number % 3]
        batch = [
            note(tenant, f"req-{number}-{part}", price=prices_of[tenant.pk], **held)
            for part in range(5)
            for tenant in rotated
        ]
        work.append(partial(settle, batch))
        work.append(partial(settle, batch[::-1]))
        work.append(partial(escrow.grant, tenant_id=rotated[0].pk, epoch=EPOCH, need_nano=COST))
        work.append(partial(escrow.give_back, tenant_id=rotated[1].pk, epoch=EPOCH, amount_nano=COST))
        work.append(partial(world.fund, rotated[2], COST))
    results = at_once(work)
    assert [result for result in results if isinstance(result, Exception)] == []
    for tenant in tenants:
        assert sum(charges(tenant).values()) == 30 * COST == balances(tenant)["revenue"]
        world.assert_sound(tenant)


def test_f11_no_row_is_shared_between_tenants(acme: Tenant, globex: Tenant) -> None:
    """One tenant's open transaction keeps nobody else waiting."""
    for tenant in (acme, globex):
        world.priced(tenant)
        world.fund(tenant, 10 * COST)

    def impatient() -> Any:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            return escrow.grant(tenant_id=globex.pk, epoch=EPOCH, need_nano=COST)

    with tenant_scope(acme.pk):
        ledger.lock_accounts(tenant_id=acme.pk, code="CNY")
        (grant,) = at_once([impatient])
    assert isinstance(grant, escrow.Grant)


@pytest.mark.parametrize(
    "amount",
    [math.nan, math.inf, -math.inf, 1.0, 1e308, "1", Decimal(1), True, None, -1, 0, 1 << 63, 1 << 64],
    ids=repr,
)
def test_f12_what_is_no_amount_moves_nothing(acme: Tenant, amount: Any) -> None:
    world.priced(acme)
    with pytest.raises(AmountRefused):
        escrow.grant(tenant_id=acme.pk, epoch=EPOCH, need_nano=amount)
    with pytest.raises(AmountRefused):
        escrow.give_back(tenant_id=acme.pk, epoch=EPOCH, amount_nano=amount)
    with platform_scope("tests"):
        with pytest.raises(AmountRefused):
            wallets.grant_credit(actor=MACHINE, tenant=acme, amount_nano=amount, currency="CNY", reason="x")
        with pytest.raises(AmountRefused):
            wallets.begin_payment(
                actor=MACHINE, tenant=acme, amount_nano=amount, currency="CNY", reference="x"
            )
    assert balances(acme) == {}


def test_f12_a_wallet_that_is_full_says_so_and_does_not_wrap_round(acme: Tenant) -> None:
    world.fund(acme, MAX_NANO)
    with pytest.raises(AmountRefused), platform_scope("tests"):
        wallets.grant_credit(actor=MACHINE, tenant=acme, amount_nano=1, currency="CNY", reason="x")
    assert balances(acme) == {"credit": -MAX_NANO, "wallet": MAX_NANO}


@pytest.mark.parametrize("column", ["charge_nano", "escrow_nano"])
@pytest.mark.parametrize("amount", [-1, COST + 1])
def test_f12_the_database_refuses_charges_below_nothing_or_above_the_hold(
    acme: Tenant, column: str, amount: int
) -> None:
    settle([note(acme, hold_nano=COST)])
    with pytest.raises(IntegrityError), platform_scope("tests"):
        UsageRecord.objects.update(**{column: amount})


def test_f12_usage_of_absurd_size_is_charged_its_hold_and_nothing_breaks(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 10 * COST)
    world.granted(acme, COST)
    most = {"prompt_tokens": 1 << 70, "completion_tokens": 1 << 62, "gpu_decode_ns": 1 << 63}
    absurd = note(acme, price=world.price_id(acme), hold_nano=COST, epoch=EPOCH, **most)
    settle([absurd])
    assert charges(acme) == {"req-1": COST}
    world.assert_sound(acme)


def test_f13_a_price_that_was_mistyped_is_put_right_without_deleting_anything(
    acme: Tenant, olive: User, actor_of: Any
) -> None:
    plan = world.priced(acme, input_nano=1_000 * NANO)
    world.fund(acme, 100 * NANO)
    world.granted(acme, NANO)
    wrong = world.price_id(acme)
    settle([note(acme, price=wrong, hold_nano=NANO, epoch=EPOCH)])
    overcharged = charges(acme)["req-1"] - COST
    assert overcharged > 0
    with platform_scope("tests"):
        prices.publish(actor=MACHINE, plan=plan, prices=[world.PRICES], note="a typing mistake")
        asked = corrections.request(
            actor=MACHINE, tenant=acme, amount_nano=overcharged, currency="CNY", reason="a typing mistake"
        )
        corrections.approve(actor=actor_of(olive), correction=asked)
    settle([note(acme, "req-2", price=world.price_id(acme), hold_nano=NANO, epoch=EPOCH)])
    assert charges(acme)["req-2"] == COST
    stand = balances(acme)
    assert stand["revenue"] + stand["adjustments"] == 2 * COST
    world.assert_sound(acme)


@pytest.mark.slow
def test_f14_one_key_a_hundred_times_at_once_is_one_effect(acme: Tenant) -> None:
    def credit(amount: int) -> Any:
        with platform_scope("tests"):
            wallets.grant_credit(
                actor=MACHINE,
                tenant=acme,
                amount_nano=amount,
                currency="CNY",
                reason="a present",
                idempotency_key="present-1",
            )

    assert at_once([partial(credit, NANO)] * 100) == [None] * 100
    assert balances(acme) == {"credit": -NANO, "wallet": NANO}
    with pytest.raises(KeyReused):
        credit(2 * NANO)
    world.assert_sound(acme)


@pytest.mark.slow
def test_f14_a_payment_confirmed_and_paid_back_by_many_at_once_moves_once_each(acme: Tenant) -> None:
    def pay() -> Any:
        with platform_scope("tests"):
            return wallets.begin_payment(
                actor=MACHINE, tenant=acme, amount_nano=NANO, currency="CNY", reference="bank-7"
            )

    payments = at_once([pay] * 20)
    assert len({payment.pk for payment in payments}) == 1

    def confirm() -> Any:
        with platform_scope("tests"):
            return wallets.confirm_payment(actor=MACHINE, payment=payments[0])

    assert {payment.state for payment in at_once([confirm] * 30)} == {PaymentState.CONFIRMED}
    assert balances(acme) == {"payments": -NANO, "wallet": NANO}

    def refund() -> Any:
        with platform_scope("tests"):
            return wallets.refund_payment(actor=MACHINE, payment=payments[0], reason="asked for")

    assert {payment.state for payment in at_once([refund] * 30)} == {PaymentState.REFUNDED}
    assert balances(acme) == {}
    world.assert_sound(acme)


def test_f14_a_refund_and_the_spending_of_the_same_money_cannot_both_happen(acme: Tenant) -> None:
    world.priced(acme)
    with platform_scope("tests"):
        payment = wallets.begin_payment(
            actor=MACHINE, tenant=acme, amount_nano=COST, currency="CNY", reference="bank-8"
        )
        wallets.confirm_payment(actor=MACHINE, payment=payment)

    def refund() -> Any:
        with platform_scope("tests"):
            return wallets.refund_payment(actor=MACHINE, payment=payment, reason="asked for")

    spend = partial(escrow.grant, tenant_id=acme.pk, epoch=EPOCH, need_nano=COST)
    refunded, granted = at_once([refund, spend])
    if isinstance(refunded, Conflict):
        assert granted is not None
    else:
        assert granted is None
    world.assert_sound(acme)


def test_f14_a_correction_happens_once_however_many_approve(
    acme: Tenant, olive: User, sam: User, actor_of: Any
) -> None:
    with platform_scope("tests"):
        asked = corrections.request(
            actor=actor_of(olive), tenant=acme, amount_nano=NANO, currency="CNY", reason="x"
        )
        with pytest.raises(NotAllowed):
            corrections.approve(actor=actor_of(olive), correction=asked)
    second = Actor(kind="person", label="second", id=sam.pk, platform_role="operator")

    def approve() -> Any:
        with platform_scope("tests"):
            return corrections.approve(actor=second, correction=asked)

    assert {result.state for result in at_once([approve] * 20)} == {"approved"}
    assert balances(acme) == {"adjustments": -NANO, "wallet": NANO}
    with platform_scope("tests"):
        made = LedgerTransaction.objects.get()
    assert (made.actor_label, made.approver_label, made.reason) == (olive.email, "second", "x")


def test_f15_a_price_that_changes_during_a_stream_does_not_change_what_the_stream_costs(
    acme: Tenant,
) -> None:
    plan = world.priced(acme)
    world.fund(acme, 10 * NANO)
    world.granted(acme, NANO)
    admitted = world.price_id(acme)
    with platform_scope("tests"):
        prices.publish(actor=MACHINE, plan=plan, prices=[{"model": "*", "input_nano": 10**14}])
    assert world.price_id(acme) != admitted
    settle([note(acme, price=admitted, hold_nano=NANO, epoch=EPOCH)])
    assert charges(acme) == {"req-1": COST}


def test_f15_a_plan_that_changes_during_a_stream_does_not_change_it_either(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 10 * NANO)
    world.granted(acme, NANO)
    admitted = world.price_id(acme)
    world.priced(acme, currency="USD")
    settle([note(acme, price=admitted, hold_nano=NANO, epoch=EPOCH)])
    assert balances(acme)["revenue"] == COST
    assert balances(acme, "USD") == {}


def test_f15_a_month_that_ends_during_a_stream_is_that_of_its_admission(acme: Tenant) -> None:
    world.priced(acme, included={"input": 100, "output": 50})
    world.fund(acme, 10 * NANO)
    world.granted(acme, NANO)
    held = {"price": world.price_id(acme), "hold_nano": NANO, "epoch": EPOCH}
    midnight = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
    # October has begun when it ends, and uses up nothing of October's.
    settle([note(acme, "over", started_ms=midnight - 1, finished_ms=midnight + 60_000, **held)])
    settle([note(acme, "october", started_ms=midnight, finished_ms=midnight + 1, **held)])
    settle([note(acme, "late", started_ms=midnight - 5, finished_ms=midnight - 1, **held)])
    assert charges(acme) == {"over": 0, "october": 0, "late": COST}


def test_clocks_that_jump_change_no_price_of_what_was_admitted(
    acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = world.priced(acme)
    world.fund(acme, 10 * NANO)
    world.granted(acme, NANO)
    admitted = world.price_id(acme)
    now = clock.now()
    with platform_scope("tests"):
        later = now + timedelta(days=1)
        prices.publish(actor=MACHINE, plan=plan, prices=[{"model": "*"}], valid_from=later)
    for jump in (timedelta(days=-3), timedelta(days=3)):
        monkeypatch.setattr(clock, "now", lambda jump=jump: now + jump)
        ahead = settle([note(acme, f"req{jump.days}", price=admitted, hold_nano=NANO, epoch=EPOCH)])
        assert [settled.charge_nano for settled in ahead] == [COST]
    world.assert_sound(acme)
