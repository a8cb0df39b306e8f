"""The scripts against a reference in plain Python, over histories that Hypothesis makes up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.admission.client import TTL_MS
from inference.errors import Rejected
from tests.inference.admission.harness import Desk, policy

START = 1_800_000_000_000_000
MINUTE = 60_000_000


class Reference:
    """Exact fractions. What was settled counts from the beginning as if the actual had been known."""

    def __init__(self, requests: int, tokens: int, concurrent: int) -> None:
        self.limits = (requests, tokens, concurrent)
        self.now = START
        self.requests: list[tuple[int, Fraction]] = []
        self.tokens: dict[int, tuple[int, Fraction]] = {}
        self.live: dict[int, int] = {}  # until when a request that nobody renews has its slot, ms
        self.count = 0

    @staticmethod
    def level(debits: list[tuple[int, Fraction]], limit: int, now: int) -> Fraction:
        level, at = Fraction(0), START
        for when, amount in debits:
            level = max(Fraction(0), level - Fraction((when - at) * limit, MINUTE)) + amount
            at = when
        return max(Fraction(0), level - Fraction((now - at) * limit, MINUTE))

    def token_level(self) -> Fraction:
        return self.level(list(self.tokens.values()), self.limits[1], self.now)

    def request_level(self) -> Fraction:
        return self.level(self.requests, self.limits[0], self.now)

    def in_flight(self) -> int:
        return sum(until > self.now // 1000 for until in self.live.values())


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 120)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 250_000, 1_000_000, 7_500_000, 20_000_000])),
        st.tuples(st.just("settle"), st.integers(0, 100)),
    ),
    min_size=1,
    max_size=30,
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.mark.slow
@settings(max_examples=60)
@given(requests=st.integers(1, 12), tokens=st.integers(1, 200), concurrent=st.integers(1, 6), steps=steps)
def test_rates_and_slots_are_those_of_the_reference(
    loop: asyncio.AbstractEventLoop, requests: int, tokens: int, concurrent: int, steps: list[Any]
) -> None:
    loop.run_until_complete(_history(requests, tokens, concurrent, steps))


async def _history(requests: int, tokens: int, concurrent: int, steps: list[Any]) -> None:
    desk = Desk(clock=True)
    reference = Reference(requests, tokens, concurrent)
    rules = policy(
        ("requests_per_minute", requests), ("tokens_per_minute", tokens), ("concurrent_requests", concurrent)
    )
    open_requests: dict[int, tuple[Any, int]] = {}
    try:
        for what, amount in steps:
            await desk.set_clock(reference.now)
            if what == "wait":
                reference.now += amount
            elif what == "settle" and open_requests:
                number = min(open_requests)
                admitted, debit = open_requests.pop(number)
                del reference.live[number]
                actual = debit * amount // 100
                await desk.release(admitted, tokens=actual)
                reference.tokens[number] = (reference.tokens[number][0], Fraction(actual))
            elif what == "ask":
                await _ask(desk, reference, rules, amount, open_requests)
    finally:
        await desk.close()


async def _ask(
    desk: Desk, reference: Reference, rules: Any, cost: int, open_requests: dict[int, tuple[Any, int]]
) -> None:
    requests, tokens, concurrent = reference.limits
    exact = {
        "requests": reference.request_level() + 1 <= requests,
        "tokens": reference.token_level() + cost <= tokens,
        "slots": reference.in_flight() < concurrent,
    }
    try:
        admitted = await desk.ask(rules, tokens=cost)
    except Rejected as error:
        if all(exact.values()):
            # Tokens that were given back late may be fewer than they could be; never more.
            assert error.kind == "tokens", exact
            assert len(reference.tokens) > 1
        assert await desk.in_flight(at_ms=reference.now // 1000) == reference.in_flight()
        return
    assert all(exact.values()), exact
    reference.requests.append((reference.now, Fraction(1)))
    reference.tokens[reference.count] = (reference.now, Fraction(cost))
    open_requests[reference.count] = (admitted, cost)
    reference.live[reference.count] = reference.now // 1000 + TTL_MS
    reference.count += 1
    (level, *_) = await desk.bucket("t|tokens_per_minute")
    assert level >= float(reference.token_level()) - 1e-6


@pytest.mark.slow
@settings(max_examples=40)
@given(
    limit=st.integers(0, 300),
    history=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 100), st.booleans()), max_size=20),
)
def test_a_months_counters_hold_what_is_settled_and_the_worst_of_what_is_not(
    loop: asyncio.AbstractEventLoop, limit: int, history: list[tuple[int, int, bool]]
) -> None:
    loop.run_until_complete(_month(limit, history))


async def _month(limit: int, history: list[tuple[int, int, bool]]) -> None:
    desk = Desk(clock=True)
    await desk.set_clock(START)
    field = ["202701", "t", "seed", 0, 0, 0, 0]
    await desk.scripts.call("seed", desk.keys, ["202701", "t", "seed", 1000, []])
    await desk.scripts.call("seeded", desk.keys, field)
    rules = policy(("monthly_tokens", limit), ("monthly_calls", 15), ("monthly_gpu_seconds", 2))
    used = calls = gpu = 0
    try:
        for cost, share, ran in history:
            fits = used + cost <= limit and calls < 15 and gpu < 2_000_000
            try:
                admitted = await desk.ask(rules, tokens=cost)
            except Rejected as error:
                assert not fits
                assert (error.code, error.retryable) == ("insufficient_quota", False)
                continue
            assert fits
            actual = cost * share // 100 if ran else 0
            await desk.release(admitted, tokens=actual, gpu_us=share * 10_000 * ran, how=0 if ran else 1)
            used, calls, gpu = used + actual, calls + ran, gpu + share * 10_000 * ran
            assert await desk.month("202701") == [calls, used, gpu, 0]
    finally:
        await desk.close()
