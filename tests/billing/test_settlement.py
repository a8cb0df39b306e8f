"""Settlement: what a request costs is charged once, out of its hold, whatever is delivered how often."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import LedgerTransaction, UsageCounter, UsageRecord
from billing.money import NANO
from billing.services import escrow
from billing.services.settlement import settle
from core.scoping import platform_scope
from tenants.models import Tenant
from tests.billing import world
from tests.billing.world import COST, EPOCH, balances, charges, note

pytestmark = pytest.mark.django_db
HOLD = 1_000_000


@pytest.fixture
def price(acme: Tenant) -> str:
    """Acme pays by the token, has ten units, and an escrow for several requests."""
    world.priced(acme)
    world.fund(acme, 10 * NANO)
    world.granted(acme, HOLD)
    return world.price_id(acme)


def held(price: str, **changes: Any) -> dict[str, Any]:
    """What admission writes onto a request."""
    return {"price": price, "hold_nano": HOLD, "epoch": EPOCH, **changes}


def test_a_request_is_charged_what_it_used_out_of_its_hold(acme: Tenant, price: str) -> None:
    before = balances(acme)
    (settled,) = settle([note(acme, tags={"team": "红"}, **held(price))])
    assert (settled.request_id, settled.tenant_id, settled.epoch) == ("req-1", acme.pk, EPOCH)
    assert (settled.hold_nano, settled.charge_nano) == (HOLD, COST)
    assert (settled.tokens, settled.gpu_ns) == (150, 3_000)
    after = balances(acme)
    assert after["revenue"] == COST
    assert after["escrow"] == before["escrow"] - COST
    assert after["wallet"] == before["wallet"]
    with platform_scope("tests"):
        record = UsageRecord.objects.get()
        made = LedgerTransaction.objects.get(kind="usage")
    assert (record.charge_nano, record.currency, record.ledger_transaction_id) == (COST, "CNY", made.pk)
    assert (record.gpu_prefill_ns, record.gpu_decode_ns, record.tags) == (1_000, 2_000, {"team": "红"})
    assert (str(record.price_id), record.hold_nano, record.epoch) == (price, HOLD, EPOCH)
    world.assert_sound(acme)


def test_a_tenant_without_a_plan_is_not_charged(acme: Tenant) -> None:
    (settled,) = settle([note(acme)])
    assert settled.charge_nano == 0
    assert charges(acme) == {"req-1": 0}
    assert balances(acme) == {}


def test_the_same_again_changes_nothing_and_is_answered_the_same(acme: Tenant, price: str) -> None:
    first = settle([note(acme, **held(price))])
    stand = balances(acme)
    assert settle([note(acme, **held(price)), note(acme, **held(price))]) == first
    assert balances(acme) == stand
    world.assert_sound(acme)


def test_a_better_record_is_settled_by_the_wallet_and_the_hold_is_told_the_same(
    acme: Tenant, price: str
) -> None:
    lost = note(acme, outcome="lost", completion_tokens=0, **held(price))
    (first,) = settle([lost])
    stand = balances(acme)
    (again,) = settle([note(acme, **held(price))])
    assert first.charge_nano == again.charge_nano == 100_000
    assert charges(acme) == {"req-1": COST}
    after = balances(acme)
    assert (after["escrow"], after["wallet"]) == (stand["escrow"], stand["wallet"] - 100_000)
    world.assert_sound(acme)


def test_a_better_record_of_less_gives_the_difference_back(acme: Tenant, price: str) -> None:
    settle([note(acme, outcome="lost", completion_tokens=400, **held(price))])
    assert charges(acme) == {"req-1": 900_000}
    settle([note(acme, **held(price))])
    assert charges(acme) == {"req-1": COST}
    world.assert_sound(acme)


def test_a_charge_above_the_hold_is_never_collected(acme: Tenant, price: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("billing.services.settlement.log.error", lambda event, **_: told.append(event))
        settle([note(acme, completion_tokens=10_000_000, **held(price))])
    assert told == ["billing.charge_above_hold"]
    assert charges(acme) == {"req-1": HOLD}
    world.assert_sound(acme)


@pytest.mark.parametrize(
    ("outcome", "completion", "expected"),
    [("refused", 50, 0), ("failed", 0, 0), ("failed", 50, COST), ("cancelled", 50, COST + 7)],
)
def test_what_became_of_a_request_decides_what_it_costs(
    acme: Tenant, outcome: str, completion: int, expected: int
) -> None:
    world.priced(acme, call_nano=7)
    world.fund(acme, NANO)
    world.granted(acme, HOLD)
    settle([note(acme, outcome=outcome, completion_tokens=completion, **held(world.price_id(acme)))])
    assert charges(acme) == {"req-1": expected}


def test_cached_tokens_calls_engine_time_and_slots_have_prices_of_their_own(acme: Tenant) -> None:
    world.priced(acme, call_nano=11, gpu_second_nano=NANO, slot_hour_nano=3_600_000)
    world.fund(acme, NANO)
    world.granted(acme, HOLD)
    used = note(acme, cached_tokens=40, queue_ms=20, duration_ms=120, **held(world.price_id(acme)))
    settle([used])
    tokens = 60 * 1_000 + 40 * 200 + 50 * 2_000
    assert charges(acme) == {"req-1": tokens + 11 + 3_000 + 100}


def test_fractions_of_a_nano_unit_are_carried_and_not_lost(acme: Tenant) -> None:
    world.priced(acme, input_nano=333_333, cached_nano=0, output_nano=0)
    world.fund(acme, NANO)
    world.granted(acme, HOLD)
    price = world.price_id(acme)
    settle([note(acme, f"req-{n}", prompt_tokens=1, completion_tokens=0, **held(price)) for n in range(100)])
    assert sum(charges(acme).values()) == 33
    assert set(charges(acme).values()) == {0, 1}


def test_included_amounts_and_tiers_are_those_of_the_month(acme: Tenant) -> None:
    world.priced(acme, output_nano=0, included={"input": 150}, tiers={"input": [[250, NANO // 2]]})
    world.fund(acme, 10 * NANO)
    world.granted(acme, HOLD)
    price = world.price_id(acme)
    october = 1_791_200_000_000
    for number in range(3):
        settle([note(acme, f"req-{number}", **held(price))])
    settle([note(acme, "next", started_ms=october, finished_ms=october, **held(price))])
    # 0–150 free, 150–250 at a thousand, from 250 at five hundred; and the next month begins anew.
    assert charges(acme) == {"req-0": 0, "req-1": 50_000, "req-2": 75_000, "next": 0}
    with platform_scope("tests"):
        counted = UsageCounter.objects.order_by("month").values_list("month", "input", "calls")
        assert [(str(month), volume, calls) for month, volume, calls in counted] == [
            ("2026-09-01", 300, 3),
            ("2026-10-01", 100, 1),
        ]
    world.assert_sound(acme)


def test_what_arrives_after_its_epoch_was_closed_is_charged_to_the_wallet(acme: Tenant, price: str) -> None:
    escrow.close_epoch(tenant_id=acme.pk, epoch=EPOCH)
    (settled,) = settle([note(acme, **held(price))])
    assert settled.charge_nano == 0  # the hold paid nothing
    assert charges(acme) == {"req-1": COST}
    assert balances(acme) == {"credit": -10 * NANO, "wallet": 10 * NANO - COST, "revenue": COST}
    world.assert_sound(acme)


def test_what_nothing_covers_is_written_down_and_not_collected(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 50_000)
    settle([note(acme, **held(world.price_id(acme)))])
    assert charges(acme) == {"req-1": 50_000}
    stand = {
        "credit": -50_000,
        "revenue": 50_000,
        "adjustments": -150_000,
        "uncollectable": 150_000,
    }
    assert balances(acme) == stand
    settle([note(acme, **held(world.price_id(acme)))])
    assert balances(acme) == stand
    world.assert_sound(acme)


def test_an_escrow_that_is_too_small_is_not_overspent(acme: Tenant, price: str) -> None:
    """A hold that Valkey made without cover is a mistake there, and must stay one without consequences here."""
    with platform_scope("tests"):
        left = escrow.EscrowEpoch.objects.get().left_nano
    escrow.give_back(tenant_id=acme.pk, epoch=EPOCH, amount_nano=left - 30_000)
    settle([note(acme, **held(price))])
    assert charges(acme) == {"req-1": COST}
    assert "escrow" not in balances(acme)
    world.assert_sound(acme)


@pytest.mark.parametrize("price", ["not-an-id", "7019360a-1a68-49ab-9095-e07ca95a5e17"])
def test_usage_by_a_price_that_is_none_is_kept_and_not_charged(acme: Tenant, price: str) -> None:
    assert [settled.charge_nano for settled in settle([note(acme, **held(price))])] == [0]
    assert charges(acme) == {"req-1": 0}


def test_what_was_stored_without_settling_is_settled_by_the_next_delivery(acme: Tenant, price: str) -> None:
    from billing.services.usage import ingest

    assert ingest([note(acme, **held(price))]) == 1
    assert charges(acme) == {"req-1": 0}
    (settled,) = settle([note(acme, **held(price))])
    assert settled.charge_nano == COST
    assert charges(acme) == {"req-1": COST}
    world.assert_sound(acme)


def test_one_tenants_settlement_is_not_anothers(acme: Tenant, globex: Tenant, price: str) -> None:
    settle([note(acme, **held(price)), note(globex)])
    assert charges(globex) == {"req-1": 0}
    assert balances(globex) == {}


# --- Whatever is delivered, in whatever order, how often and with whatever crash in between

REPORTS = st.builds(
    lambda number, outcome, prompt, completion, finished: {
        "request_id": f"req-{number}",
        "outcome": outcome,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "finished_ms": world.STARTED_MS + finished,
    },
    st.integers(0, 4),
    st.sampled_from(["completed", "cancelled", "lost", "failed"]),
    st.integers(0, 400),
    st.integers(0, 300),
    st.integers(0, 2),
)


def outcome_of(acme: Tenant, batches: list[list[dict[str, Any]]]) -> tuple[Any, ...]:
    """Charges and balances after some batches, in a transaction that is rolled back."""
    with transaction.atomic():
        holds: dict[str, int] = {}
        for batch in batches:
            for settled in settle(batch):
                known = holds.setdefault(settled.request_id, settled.charge_nano)
                assert known == settled.charge_nano, "the hold's part of a charge must stay the same"
                assert 0 <= settled.charge_nano <= settled.hold_nano
        world.assert_sound(acme)
        stand = balances(acme)
        with platform_scope("tests"):
            rated = sum(UsageRecord.objects.values_list("rated_nano", flat=True))
            used = list(UsageCounter.objects.values_list("input", "output", "calls"))
        result = (charges(acme), stand.get("revenue", 0), rated, used)
        transaction.set_rollback(True)
    return result


@pytest.mark.slow
@given(reports=st.lists(REPORTS, max_size=8), data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_and_repetition_charges_the_same(
    acme: Tenant, price: str, reports: list[dict[str, Any]], data: st.DataObject
) -> None:
    notes = [note(acme, **held(price), **report) for report in reports]
    again = data.draw(st.lists(st.sampled_from(notes), max_size=6)) if notes else []
    shuffled = data.draw(st.permutations(notes + again))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3)))
    batches = [shuffled[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    # A crash after the commit and before anybody was told: a batch comes again.
    crashed = data.draw(st.lists(st.sampled_from(batches), max_size=2))
    assert outcome_of(acme, [*batches, *crashed]) == outcome_of(acme, [notes])


@pytest.mark.slow
@given(reports=st.lists(REPORTS, max_size=6, unique_by=lambda report: report["request_id"]), data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_tiers_any_order_costs_the_same_in_all(
    acme: Tenant, globex: Tenant, reports: list[dict[str, Any]], data: st.DataObject
) -> None:
    with transaction.atomic():
        world.priced(
            acme,
            tiers={"input": [[300, 0], [500, 3 * NANO]], "output": [[100, NANO // 3]]},
            included={"output": 50, "calls": 1},
            call_nano=5_000,
        )
        world.fund(acme, 100 * NANO)
        world.granted(acme, 10 * NANO)
        most = {"hold_nano": 10 * NANO, "price": world.price_id(acme), "epoch": EPOCH}
        notes = [note(acme, **most, **report) for report in reports]
        shuffled = data.draw(st.permutations(notes))
        one_by_one = outcome_of(acme, [[each] for each in shuffled])
        together = outcome_of(acme, [notes])
        assert one_by_one[1:] == together[1:]
        assert one_by_one[2] == one_by_one[1]
        transaction.set_rollback(True)


def test_started_at_decides_the_month_of_a_request_over_midnight(acme: Tenant, price: str) -> None:
    last = int(datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC).timestamp() * 1000)
    settle([note(acme, started_ms=last, finished_ms=last + 60_000, **held(price))])
    with platform_scope("tests"):
        assert [str(row.month) for row in UsageCounter.objects.all()] == ["2026-09-01"]
