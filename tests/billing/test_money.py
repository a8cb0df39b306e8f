"""Amounts at the edges: exact, bounded, and never a float."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from billing import money
from billing.errors import AmountRefused
from billing.money import MAX_NANO, NANO

AMOUNTS = st.integers(-MAX_NANO, MAX_NANO)


@given(amount=AMOUNTS)
def test_what_is_written_is_read_back(amount: int) -> None:
    assert money.parse(money.plain(amount)) == amount
    assert money.parse(money.to_decimal(amount)) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("-0.000000001", -1),
        ("9223372036.854775807", MAX_NANO),
        (7, 7 * NANO),
        (Decimal("1E+2"), 100 * NANO),
        (Decimal("2.500000000000"), 2_500_000_000),
    ],
)
def test_amounts_are_read_exactly(text: Any, amount: int) -> None:
    assert money.parse(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        *("", "abc", "1e9", "1,000", "+1", " 1", "1.", ".5", "0.0000000001", "NaN", "Infinity", "１", "--1"),
        *("9223372036.854775808", "-9223372036.854775808", "99999999999"),
        *(1.5, math.nan, math.inf, True, None, Decimal("NaN"), Decimal("Infinity"), Decimal("1E+400"), b"1"),
        *(Decimal("1e-10"), Decimal("-1e-400"), 1 << 64),
    ],
    ids=repr,
)
def test_what_is_no_exact_amount_is_refused(text: Any) -> None:
    with pytest.raises(AmountRefused):
        money.parse(text)


@pytest.mark.parametrize("value", [1.0, math.nan, True, "1", Decimal(1), None, MAX_NANO + 1, -MAX_NANO - 1])
def test_only_whole_numbers_within_bounds_are_nano_units(value: Any) -> None:
    with pytest.raises(AmountRefused):
        money.nano(value)


@pytest.mark.parametrize("code", ["EUR", "cny", "", None, 1])
def test_currencies_that_are_not_dealt_in_are_refused(code: Any) -> None:
    with pytest.raises(AmountRefused):
        money.currency(code)


@pytest.mark.parametrize(
    ("amount", "code", "locale", "shown"),
    [
        (1_234_500_000_000, "CNY", "zh-hans", "¥1,234.50"),
        (1_234_500_000_000, "CNY", "en", "CN¥1,234.50"),
        (-1_234_567_000_000, "USD", "en", "-$1,234.567"),
        (1, "USD", "en", "$0.000000001"),
        (0, "CNY", "zh-hans", "¥0.00"),
    ],
)
def test_amounts_are_shown_in_the_readers_language(amount: int, code: str, locale: str, shown: str) -> None:
    assert money.display(amount, code, locale) == shown
    with translation.override(locale):
        assert money.display(amount, code) == shown
