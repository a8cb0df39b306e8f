"""One decision over all limits: all or nothing, once per request, named when it is no."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from inference.admission.loader import Then
from inference.admission.refusals import duration
from inference.errors import Rejected
from tests.inference.admission.harness import Desk, policy, route

KEY = uuid4().hex


async def refusal(desk: Desk, *args: object, **options: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        await desk.ask(*args, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    "kind", ["requests_per_second", "requests_per_minute", "requests_per_day", "concurrent_requests"]
)
async def test_exactly_as_many_as_the_limit_says(clocked: Desk, kind: str) -> None:
    rules = policy((kind, 5))
    outcomes = await asyncio.gather(*(clocked.ask(rules) for _ in range(40)), return_exceptions=True)
    assert sum(not isinstance(outcome, Rejected) for outcome in outcomes) == 5
    assert all(outcome.status == 429 for outcome in outcomes if isinstance(outcome, Rejected))


async def test_no_limit_is_no_limit_and_nought_is_none_at_all(desk: Desk) -> None:
    for _ in range(50):
        await desk.ask(policy())
    for kind in (
        "requests_per_second", "requests_per_minute", "requests_per_day", "tokens_per_minute", "tokens_per_day",
        "concurrent_requests",
    ):  # fmt: skip
        error = await refusal(desk, policy((kind, 0)))
        assert (error.status, error.retryable) == (429, False), kind
        assert error.limit is not None
        assert (error.limit["name"], error.limit["value"], error.limit["remaining"]) == (kind, 0, 0)


async def test_a_refusal_changes_nothing_and_names_the_limit(clocked: Desk) -> None:
    rules = policy(("requests_per_minute", 100), ("tokens_per_minute", 60), ("concurrent_requests", 9))
    await clocked.ask(rules, tokens=50)
    before = [await clocked.client.hgetall(clocked.keys.rates), await clocked.in_flight()]
    error = await refusal(clocked, rules, tokens=20)
    assert [await clocked.client.hgetall(clocked.keys.rates), await clocked.in_flight()] == before
    assert (error.status, error.code, error.kind) == (429, "rate_limit_exceeded", "tokens")
    assert error.retryable
    assert error.retry_after_s == 10.0  # 10 tokens must leak, one a second
    assert error.limit == {
        "name": "tokens_per_minute",
        "scope": "tenant",
        "value": 60,
        "remaining": 10,
        "reset_at": error.limit["reset_at"] if error.limit else None,
    }
    headers = dict(error.headers)
    assert headers[b"x-ratelimit-limit-tokens"] == b"60"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"10"
    assert headers[b"x-ratelimit-reset-tokens"] == b"50s"
    assert headers[b"x-ratelimit-remaining-requests"] == b"99"


async def test_a_request_that_no_time_makes_small_enough_is_refused_for_good(desk: Desk) -> None:
    error = await refusal(desk, policy(("tokens_per_minute", 10)), tokens=11)
    assert "too large" in error.message
    assert (error.status, error.code, error.retryable, error.retry_after_s) == (
        429, "rate_limit_exceeded", False, None,
    )  # fmt: skip


async def test_all_levels_count_and_the_tightest_says_no(desk: Desk) -> None:
    other = route(uuid4(), "other")
    rules = policy(
        ("requests_per_minute", 10),
        ("requests_per_minute", 3, True),
        ("requests_per_minute", 2, False, route().model_id),
        key=KEY,
    )
    await desk.ask(rules)
    await desk.ask(rules)
    error = await refusal(desk, rules)
    assert error.limit is not None
    assert error.limit["scope"] == "model"
    await desk.ask(rules, to=other)
    error = await refusal(desk, rules, to=other)
    assert error.limit is not None
    assert error.limit["scope"] == "key"
    member = policy(*rules.limits)
    await desk.ask(member, to=other)  # a member has no key to be limited by


async def test_of_two_limits_of_one_reach_the_lower_counts(desk: Desk) -> None:
    rules = policy(("requests_per_minute", 100), ("requests_per_minute", 1))
    await desk.ask(rules)
    error = await refusal(desk, rules)
    assert error.limit is not None
    assert error.limit["value"] == 1


async def test_a_request_asked_twice_is_admitted_and_counted_once(desk: Desk) -> None:
    rules = policy(("requests_per_minute", 1), ("concurrent_requests", 1))
    first = await desk.ask(rules, request_id="req_again")
    again = await desk.ask(rules, request_id="req_again")
    assert (again.epoch, again.month) == (first.epoch, first.month)
    assert await desk.in_flight() == 1


async def test_a_slot_is_free_when_the_request_has_ended_and_before_the_next_is_asked(desk: Desk) -> None:
    rules = policy(("concurrent_requests", 1))
    for _ in range(3):
        admitted = await desk.ask(rules)
        assert (await refusal(desk, rules)).code == "concurrency_limit_exceeded"
        desk.admission.ended(admitted)  # nothing was flushed: the next question takes it along
    await desk.ask(rules)


async def test_what_follows_an_admission_travels_with_it_and_to_its_memory_only(desk: Desk) -> None:
    told: list[Any] = []

    def following(hold_nano: int, price: str, epoch: str) -> list[Any]:
        told.append((hold_nano, price, epoch))
        return ["INCR", desk.keys.prefix + "followed"]

    rules = policy()
    first = await desk.ask(rules)
    admitted = await desk.ask(rules, following=following)
    assert admitted.then == 1
    assert told == [(admitted.hold_nano, admitted.price, first.epoch)]

    desk.scripts.epoch = "another"  # as where the server changed between the two
    answers = await desk.scripts.calls(
        [("free", desk.keys, [])], then=Then(["INCR", desk.keys.prefix + "followed"], first.epoch)
    )
    assert len(answers) == 1
    assert await desk.client.get(desk.keys.prefix + "followed") == b"1"


async def test_freeing_twice_frees_once(desk: Desk) -> None:
    rules = policy(("concurrent_requests", 2))
    first, _ = await desk.ask(rules), await desk.ask(rules)
    for _ in range(3):
        desk.admission.ended(first)
        await desk.admission.flush()
    await desk.ask(rules)
    assert (await refusal(desk, rules)).status == 429


async def test_slots_of_a_process_that_died_expire(clocked: Desk) -> None:
    start = 1_800_000_000_000_000
    rules = policy(("concurrent_requests", 1))
    await clocked.ask(rules)
    await clocked.set_clock(start + 44_000_000)
    await refusal(clocked, rules)
    await clocked.set_clock(start + 45_100_000)
    await clocked.ask(rules)


async def test_a_renewed_slot_does_not_expire(clocked: Desk) -> None:
    start = 1_800_000_000_000_000
    rules = policy(("concurrent_requests", 1))
    admitted = await clocked.ask(rules)
    await clocked.set_clock(start + 40_000_000)
    await clocked.admission.renew([admitted])
    await clocked.set_clock(start + 80_000_000)
    assert (await refusal(clocked, rules)).code == "concurrency_limit_exceeded"


async def test_an_undone_admission_leaves_no_trace(clocked: Desk) -> None:
    rules = policy(("requests_per_minute", 1), ("tokens_per_minute", 100), ("concurrent_requests", 1))
    admitted = await clocked.ask(rules, tokens=100)
    await clocked.admission.undo(admitted.request_id, clocked.tenant)
    await clocked.admission.undo(admitted.request_id, clocked.tenant)
    await clocked.ask(rules, tokens=100)


async def test_tokens_that_were_not_used_come_back_at_settlement(clocked: Desk) -> None:
    rules = policy(("tokens_per_minute", 100))
    admitted = await clocked.ask(rules, tokens=90)
    await refusal(clocked, rules, tokens=50)
    assert await clocked.release(admitted, tokens=40) == 1
    assert await clocked.release(admitted, tokens=40) == 0
    await clocked.ask(rules, tokens=60)
    await refusal(clocked, rules, tokens=1)


async def test_what_leaked_meanwhile_does_not_come_back_a_second_time(clocked: Desk) -> None:
    start = 1_800_000_000_000_000
    rules = policy(("tokens_per_minute", 60))
    long = await clocked.ask(rules, tokens=60)
    await clocked.set_clock(start + 60_000_000)  # its debit has leaked away
    await clocked.ask(rules, tokens=60)
    await clocked.release(long, tokens=1)  # the second one's debit stays
    assert (await refusal(clocked, rules, tokens=1)).retry_after_s == 1.0


async def test_a_changed_limit_counts_what_was_used_before(clocked: Desk) -> None:
    for _ in range(4):
        await clocked.ask(policy(("requests_per_minute", 10)))
    await refusal(clocked, policy(("requests_per_minute", 4)))
    for _ in range(2):
        await clocked.ask(policy(("requests_per_minute", 6)))
    await refusal(clocked, policy(("requests_per_minute", 6)))


@pytest.mark.parametrize("jump_s", [3600, -3600])
async def test_f49_a_jump_of_valkeys_clock_stops_nobody_and_lets_nobody_run_free(
    clocked: Desk, jump_s: int
) -> None:
    start = 1_800_000_000_000_000
    rules = policy(("requests_per_minute", 6), ("concurrent_requests", 100))
    for _ in range(6):
        await clocked.ask(rules)
    now = start + jump_s * 1_000_000
    await clocked.set_clock(now)
    admitted = 0
    for _ in range(20):
        try:
            await clocked.ask(rules)
            admitted += 1
        except Rejected:
            pass
    assert admitted == (6 if jump_s > 0 else 0)  # ahead: one bucket at most; back: what was used stays used
    await clocked.set_clock(now + 60_000_000)
    await clocked.ask(rules)  # and the rate flows again within its minute


async def test_f49_clocks_of_web_processes_do_not_matter(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = policy(("requests_per_minute", 3))
    for ahead_ms in (0, 3_600_000, -3_600_000):
        monkeypatch.setattr("core.clock.epoch_ms", lambda ahead_ms=ahead_ms: 1_800_000_000_000 + ahead_ms)
        await desk.ask(rules)
    assert (await refusal(desk, rules)).code == "rate_limit_exceeded"


def test_durations_are_written_as_openai_writes_them() -> None:
    assert [duration(s * 1_000_000) for s in (0, 0.012, 1, 59.5, 60, 360, 5400, 86400)] == [
        "0ms", "12ms", "1s", "1m0s", "1m0s", "6m0s", "1h30m0s", "24h0m0s",
    ]  # fmt: skip
