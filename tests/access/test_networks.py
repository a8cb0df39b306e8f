"""Networks from which keys may be used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.networks import MAX_NETWORKS, is_address_allowed, is_within, normalise_networks, parse_network
from core.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        (" 203.0.113.7 ", "203.0.113.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
    ],
)
def test_addresses_and_ranges_are_taken_in_one_spelling(given: str, stored: str) -> None:
    assert normalise_networks([given, given]) == [stored]


@pytest.mark.parametrize(
    "text", ["", "example.com", "10.0.0.0/33", "10.0.0", "10.0.0.0/8/8", "010.0.0.1", "1" * 500]
)
def test_what_is_no_network_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a network.*203\.0\.113\.0/24") as refusal:
        parse_network(text)
    assert refusal.value.field == "allowed_networks"
    assert len(refusal.value.message) < 200


def test_an_address_inside_a_range_is_asked_about() -> None:
    with pytest.raises(InvalidInput, match=r"Did you mean 10\.0\.0\.0/8\?"):
        parse_network("10.1.2.3/8")


def test_the_list_is_bounded() -> None:
    listed = [f"10.0.{number}.0/24" for number in range(MAX_NETWORKS + 1)]
    assert len(normalise_networks(listed[:-1])) == MAX_NETWORKS
    with pytest.raises(InvalidInput, match="At most 100 networks"):
        normalise_networks(listed)


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("203.0.113.7", True),
        ("::ffff:203.0.113.7", True),
        ("203.0.114.7", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("", False),
        ("unix:", False),
        ("203.0.113.7, 198.51.100.1", False),
    ],
)
def test_an_address_is_let_in_or_not(address: str, is_allowed: bool) -> None:
    assert is_address_allowed(["203.0.113.0/24", "2001:db8::/32"], address) is is_allowed
    assert is_address_allowed([], address)


def test_a_list_lies_within_another() -> None:
    assert is_within(["10.1.0.0/16"], ["10.0.0.0/8"])
    assert is_within(["10.1.0.0/16"], [])
    assert is_within([], [])
    assert not is_within([], ["10.0.0.0/8"])
    assert not is_within(["10.0.0.0/7"], ["10.0.0.0/8"])
    assert not is_within(["10.1.0.0/16", "::1/128"], ["10.0.0.0/8"])
    assert is_within(["10.1.0.0/16", "::1/128"], ["10.0.0.0/8", "::/0"])


@given(st.ip_addresses(), st.integers(0, 32))
def test_what_lies_within_lets_in_no_more(address: object, length: int) -> None:
    outer = normalise_networks([f"{address}"])
    wide = ["0.0.0.0/0", "::/0"]
    assert is_within(outer, wide)
    assert is_address_allowed(outer, str(address)) <= is_address_allowed(wide, str(address))
