"""Prices: exact, additive, and never above the worst case that was held."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import AmountRefused
from billing.models.prices import MOST_PRICE_NANO
from billing.money import NANO
from billing.rating import (
    COMPONENTS,
    SCALES,
    PriceTerms,
    RateCard,
    Units,
    charge_nano,
    rate_card,
    units_of,
    units_of_record,
    worst_case_nano,
)

NANOS = st.integers(0, 10**12)
COUNTS = st.integers(0, 10**6)
TERMS = st.builds(PriceTerms, st.just("price"), *([NANOS] * 6))


@st.composite
def cards(draw: st.DrawFn) -> RateCard:
    """Prices with tiers and included amounts of every kind."""
    tiers = {}
    for component in draw(st.sets(st.sampled_from(COMPONENTS))):
        starts = sorted(draw(st.sets(st.integers(1, 10**6), min_size=1, max_size=3)))
        tiers[component] = [[start, draw(NANOS)] for start in starts]
    included = draw(st.dictionaries(st.sampled_from(COMPONENTS), COUNTS, max_size=6))
    return rate_card(base=tuple(draw(NANOS) for _ in COMPONENTS), tiers=tiers, included=included)


UNITS = st.builds(Units, *([COUNTS] * 6))


def plainly(card: RateCard, month: Units) -> int:
    """The cost of a month, unit by unit of each tier, with fractions: what `cost` must come to."""
    total = Fraction(0)
    for component, tiers, free, used in zip(COMPONENTS, card.tiers, card.included, month, strict=True):
        bounds = [*[tier.start for tier in tiers][1:], max(used, free)]
        for tier, end in zip(tiers, bounds, strict=True):
            volume = max(0, min(end, used) - max(tier.start, min(free, used)))
            total += Fraction(volume * tier.nano, SCALES[component])
    return math.floor(total)


@given(card=cards(), month=UNITS)
def test_a_months_cost_is_exact(card: RateCard, month: Units) -> None:
    assert card.cost(month) == plainly(card, month)


@given(card=cards(), requests=st.lists(UNITS, max_size=6))
def test_the_costs_of_requests_add_up_to_the_months(card: RateCard, requests: list[Units]) -> None:
    month, charged = Units(), 0
    for used in requests:
        after = month.plus(used)
        charge = card.cost(after) - card.cost(month)
        assert charge >= 0
        month, charged = after, charged + charge
    assert charged == card.cost(month)


@given(
    card=cards(),
    month=UNITS,
    prompt=COUNTS,
    cached=COUNTS,
    output=COUNTS,
    gpu=COUNTS,
    slot=COUNTS,
    data=st.data(),
)
def test_no_request_costs_more_than_its_worst_case_whatever_the_month(
    card: RateCard,
    month: Units,
    prompt: int,
    cached: int,
    output: int,
    gpu: int,
    slot: int,
    data: st.DataObject,
) -> None:
    terms = PriceTerms("price", *card.highest())
    bounds = {
        "prompt_tokens": prompt + data.draw(COUNTS),
        "most_tokens": output + data.draw(COUNTS),
        "gpu_bound_ns": gpu + data.draw(COUNTS),
        "slot_bound_ms": slot + data.draw(COUNTS),
    }
    used = units_of(
        prompt_tokens=prompt, cached_tokens=cached, completion_tokens=output, gpu_ns=gpu, slot_ms=slot
    )
    assert card.cost(month.plus(used)) - card.cost(month) <= worst_case_nano(terms, **bounds)


@given(price=TERMS, prompt=COUNTS, cached=COUNTS, output=COUNTS, gpu=COUNTS, slot=COUNTS)
def test_a_flat_charge_is_within_the_worst_case_of_itself(
    price: PriceTerms, prompt: int, cached: int, output: int, gpu: int, slot: int
) -> None:
    actual = charge_nano(
        price,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=output,
        gpu_ns=gpu,
        slot_ms=slot,
    )
    most = worst_case_nano(
        price, prompt_tokens=prompt, most_tokens=output, gpu_bound_ns=gpu, slot_bound_ms=slot
    )
    assert 0 <= actual <= most


def test_the_worst_case_is_rounded_up_and_a_charge_down() -> None:
    price = PriceTerms("price", input_nano=1)
    assert worst_case_nano(price, prompt_tokens=1, most_tokens=0) == 1
    assert charge_nano(price, prompt_tokens=1) == 0


def test_cached_tokens_that_cost_more_are_held_for() -> None:
    price = PriceTerms("price", input_nano=NANO, cached_nano=3 * NANO)
    held = worst_case_nano(price, prompt_tokens=10, most_tokens=0)
    assert charge_nano(price, prompt_tokens=10, cached_tokens=10) == held == 30_000


@pytest.mark.parametrize("count", [-1, 1.0, math.nan, math.inf, True, None, "1"], ids=repr)
def test_counts_that_are_none_are_refused(count: Any) -> None:
    price = PriceTerms("price", input_nano=1)
    for refused in (
        lambda: worst_case_nano(price, prompt_tokens=count, most_tokens=1),
        lambda: worst_case_nano(price, prompt_tokens=1, most_tokens=count),
        lambda: charge_nano(price, prompt_tokens=1, completion_tokens=count),
        lambda: charge_nano(price, prompt_tokens=1, gpu_ns=count),
    ):
        with pytest.raises(AmountRefused):
            refused()


def test_a_request_that_no_amount_covers_is_refused() -> None:
    with pytest.raises(AmountRefused):
        worst_case_nano(PriceTerms("price", output_nano=MOST_PRICE_NANO), prompt_tokens=0, most_tokens=10**12)


@pytest.mark.parametrize("tiers", [[[0, 1]], [[5, 1], [5, 2]], [[5, 1], [4, 2]], [[1.5, 1]], [[1, -1]]])
def test_tiers_that_do_not_rise_are_refused(tiers: Any) -> None:
    with pytest.raises(AmountRefused):
        rate_card(base=(1,) * 6, tiers={"input": tiers})


def test_a_slot_is_occupied_after_the_wait() -> None:
    record = {
        "outcome": "completed",
        "prompt_tokens": 5,
        "cached_tokens": 9,
        "completion_tokens": 0,
        "gpu_prefill_ns": 1,
        "gpu_decode_ns": 2,
        "duration_ms": 10,
        "queue_ms": 12,
    }
    assert units_of_record(record) == Units(0, 5, 0, 1, 3, 0)
