"""No overspend, whoever asks and whatever dies (F01, F02, L10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from core.valkey import async_client
from inference.admission import port
from inference.errors import Rejected
from tests.inference.admission.harness import Desk, PostgresTreasury, Terms, ledger, policy

CHARGED = policy(terms=Terms())


@pytest.fixture
def treasury(transactional_db: None) -> Iterator[PostgresTreasury]:
    with ledger(PostgresTreasury()) as made:
        yield made
    made.drop()


async def fill(treasury: PostgresTreasury, tenant: Any, nano: int) -> None:
    await asyncio.to_thread(_and_close, treasury.fill, tenant, nano)


async def spendable(treasury: PostgresTreasury, tenant: Any) -> int:
    return await asyncio.to_thread(_and_close, treasury.spendable, tenant)


def _and_close(work: Any, *args: Any) -> Any:
    from django.db import connections

    try:
        return work(*args)
    finally:
        connections.close_all()


@pytest.mark.slow
@pytest.mark.parametrize("slice_nano", [0, 700, 1_000_000])
async def test_f01_of_a_thousand_at_once_exactly_fifty_are_admitted(
    desk: Desk, another: Desk, treasury: PostgresTreasury, slice_nano: int
) -> None:
    treasury.slice_nano = slice_nano
    one, two = desk, another
    two.tenant = one.tenant
    await fill(treasury, one.tenant, 50 * 100)
    asked = 300 if slice_nano else 1000
    outcomes = await asyncio.gather(
        *((one, two)[number % 2].ask(CHARGED, tokens=100) for number in range(asked)), return_exceptions=True
    )
    admitted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    assert (len(admitted), len(refused)) == (50, asked - 50)
    assert {(error.status, error.code, error.retryable) for error in refused} == {
        (429, "insufficient_quota", False)
    }
    assert await spendable(treasury, one.tenant) == 0
    assert await one.escrow() == 0


async def test_what_is_settled_cheaper_can_be_spent_again(desk: Desk, treasury: PostgresTreasury) -> None:
    await fill(treasury, desk.tenant, 100)
    admitted = await desk.ask(CHARGED, tokens=100)
    with pytest.raises(Rejected):
        await desk.ask(CHARGED, tokens=1)
    await desk.release(admitted, charge=30, tokens=30)
    await desk.release(admitted, charge=30, tokens=30)
    assert await desk.escrow() == 70
    await desk.ask(CHARGED, tokens=70)
    with pytest.raises(Rejected):
        await desk.ask(CHARGED, tokens=1)


async def test_f02_first_requests_at_once_of_a_tenant_that_valkey_never_saw(
    desk: Desk, treasury: PostgresTreasury
) -> None:
    await fill(treasury, desk.tenant, 3)
    outcomes = await asyncio.gather(*(desk.ask(CHARGED) for _ in range(8)), return_exceptions=True)
    assert sum(not isinstance(outcome, Rejected) for outcome in outcomes) == 3


async def test_a_top_up_is_seen_by_the_next_request(desk: Desk, treasury: PostgresTreasury) -> None:
    await fill(treasury, desk.tenant, 1)
    await desk.ask(CHARGED)
    with pytest.raises(Rejected):
        await desk.ask(CHARGED)
    await asyncio.to_thread(
        _and_close, lambda: treasury.give_back(tenant_id=desk.tenant, epoch="", amount_nano=1)
    )
    await desk.ask(CHARGED)


async def test_a_grant_is_credited_once_and_only_to_its_own_memory(desk: Desk) -> None:
    await desk.ask(policy())
    grant = [uuid4().hex, desk.scripts.epoch, 40, "CNY"]
    assert [await desk.scripts.call("credit", desk.keys, grant) for _ in range(3)] == [1, 1, 1]
    assert await desk.escrow() == 40
    assert await desk.scripts.call("credit", desk.keys, [uuid4().hex, "another", 40, "CNY"]) == 0
    assert await desk.escrow() == 40


async def test_numbers_of_an_earlier_memory_buy_nothing(desk: Desk, treasury: PostgresTreasury) -> None:
    await desk.client.hset(desk.keys.money, mapping={"epoch": "before", "escrow:CNY": 1_000_000})
    await fill(treasury, desk.tenant, 1)
    await desk.ask(CHARGED)
    with pytest.raises(Rejected):
        await desk.ask(CHARGED)


async def test_what_was_set_aside_in_one_currency_pays_for_nothing_in_another(
    desk: Desk, treasury: PostgresTreasury
) -> None:
    treasury.slice_nano = 1_000
    await fill(treasury, desk.tenant, 1_000)
    await desk.ask(CHARGED)
    dollars = policy(terms=Terms(currency="USD"))
    with pytest.raises(Rejected) as refused:
        await desk.ask(dollars)
    assert refused.value.code == "insufficient_quota"
    assert await desk.escrow() == 999
    await desk.scripts.call("credit", desk.keys, [uuid4().hex, desk.scripts.epoch, 2, "USD"])
    admitted = await desk.ask(dollars)
    await desk.release(admitted, charge=1, tokens=1)
    await desk.ask(dollars)
    with pytest.raises(Rejected):
        await desk.ask(dollars)
    assert await desk.escrow() == 999


async def test_a_model_without_a_price_is_not_free(desk: Desk, treasury: PostgresTreasury) -> None:
    with pytest.raises(Rejected) as refused:
        await desk.ask(policy(terms=Terms(prices={"other": object()})))
    assert (refused.value.status, refused.value.code) == (403, "model_not_priced")


@pytest.mark.parametrize("hold", [-1, 2**63, 9_000_000_000_000_001])
async def test_f12_a_worst_case_out_of_all_bounds_is_refused(
    desk: Desk, treasury: PostgresTreasury, hold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(treasury, "worst_case_nano", lambda price, **bounds: hold)
    with pytest.raises(Rejected) as refused:
        await desk.ask(CHARGED)
    assert refused.value.code == "insufficient_quota"
    assert await desk.in_flight() == 0


async def test_the_monthly_limit_on_money_holds_the_worst_case(
    desk: Desk, treasury: PostgresTreasury
) -> None:
    await fill(treasury, desk.tenant, 1_000)
    rules = policy(("monthly_money_nano", 100), terms=Terms())
    admitted = await desk.ask(rules, tokens=60)
    with pytest.raises(Rejected) as refused:
        await desk.ask(rules, tokens=60)
    assert refused.value.limit is not None
    assert refused.value.limit["name"] == "monthly_money_nano"
    assert refused.value.limit["remaining"] == 40
    await desk.release(admitted, charge=40, tokens=40)
    await desk.ask(rules, tokens=60)


async def test_a_late_settlement_of_what_the_sweep_gave_up_is_taken_from_the_escrow(
    desk: Desk, treasury: PostgresTreasury
) -> None:
    await fill(treasury, desk.tenant, 100)
    admitted = await desk.ask(CHARGED, tokens=100)
    await desk.release(admitted, how=2)
    assert await desk.escrow() == 100
    await desk.release(admitted, charge=60, tokens=60)
    await desk.release(admitted, charge=60, tokens=60)
    assert await desk.escrow() == 40


async def test_idle_escrow_is_taken_out_whole_or_not_at_all(desk: Desk, treasury: PostgresTreasury) -> None:
    treasury.slice_nano = 100
    await fill(treasury, desk.tenant, 100)
    admitted = await desk.ask(CHARGED, tokens=10)
    take = [0, desk.scripts.epoch]
    assert await desk.scripts.call("take", desk.keys, take) == []  # something is in flight
    await desk.release(admitted, charge=10, tokens=10)
    assert await desk.scripts.call("take", desk.keys, [60_000, desk.scripts.epoch]) == []  # asked just now
    assert await desk.scripts.call("take", desk.keys, [0, "another"]) == []
    assert await desk.scripts.call("take", desk.keys, take) == [b"CNY", 90]
    assert await desk.escrow() == 0


async def test_without_a_ledger_nobody_is_charged(desk: Desk) -> None:
    with ledger(port.Uncharged()):
        admitted = await desk.ask(policy())
    assert (admitted.hold_nano, admitted.price) == (0, "")


@pytest.mark.slow
async def test_f06_without_valkey_the_door_is_closed(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    desk = Desk(async_client())
    for rules in (policy(), policy(("requests_per_minute", 100))):
        with pytest.raises(Rejected) as refused:
            await desk.ask(rules)
        assert (refused.value.status, refused.value.code) == (503, "service_unavailable")
    await desk.close()
