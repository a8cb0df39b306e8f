"""Where a remote engine may live. Attacks 46, 47 and 59: metadata, rebinding, odd spellings, names that lead inside."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from pytest_django import Settings

from models_registry.addresses import checked_base_url, is_allowed, parse_networks
from models_registry.errors import AddressRefused

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]


def answering(*addresses: str) -> object:
    """A resolver that gives these addresses for every name; none: it knows no name."""

    def resolver(host: str, port: int) -> list[str]:
        if not addresses:
            raise socket.gaierror("unknown")
        return list(addresses)

    return resolver


def refused(url: str, *addresses: str) -> str:
    """Why the URL is refused."""
    with pytest.raises(AddressRefused) as caught:
        checked_base_url(url, resolver=answering(*addresses))  # type: ignore[arg-type]
    return caught.value.reason


@pytest.fixture(autouse=True)
def nothing_allowed(settings: Settings) -> None:
    """No private network is allowed, as in production."""
    settings.REMOTE_ENGINE_NETWORKS = []


@pytest.mark.parametrize(
    "url", ["https://api.example.com/v1", "https://api.example.com:8443/v1/", "HTTPS://x.org"]
)
def test_a_public_server_over_tls_is_accepted(url: str) -> None:
    assert checked_base_url(url, resolver=answering(*PUBLIC)) == url.rstrip("/")  # type: ignore[arg-type]


INSIDE = [
    "127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.170.2",
    "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1",
    "3fff::1", "5f00::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:a00:1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:53aa:64c:0:0:80ff:fffe", "not an address",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused_whatever_its_form(address: str) -> None:
    assert not is_allowed(address, secure=True, networks=())
    assert refused("https://harmless.example.com", address) == "forbidden"


@pytest.mark.parametrize("address", INSIDE)
def test_one_address_inside_among_public_ones_is_enough_to_refuse(address: str) -> None:
    assert refused("https://harmless.example.com", *PUBLIC, address) == "forbidden"


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "0.0.0.0",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "::ffff:169.254.169.254",
    ],
)
def test_metadata_and_no_host_at_all_stay_refused_when_everything_is_allowed(
    address: str, settings: Settings
) -> None:
    settings.REMOTE_ENGINE_NETWORKS = ["0.0.0.0/0", "::/0"]
    assert refused("https://inside.example.com", address) == "forbidden"


def test_plain_http_is_for_allowed_networks_only(settings: Settings) -> None:
    assert refused("http://api.example.com", *PUBLIC) == "forbidden"
    settings.REMOTE_ENGINE_NETWORKS = ["10.0.0.0/8", "::1/128"]
    for address in ("10.1.2.3", "::1", "::ffff:10.1.2.3"):
        assert checked_base_url("http://llm.internal:8000/v1", resolver=answering(address))  # type: ignore[arg-type]
    assert refused("http://llm.internal:8000/v1", "10.1.2.3", "11.1.2.3") == "forbidden"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0",
        "localhost",
    ],
)
def test_odd_spellings_of_this_machine_are_seen_through(host: str) -> None:
    """By the system's own resolver, which is what a connection would ask."""
    with pytest.raises(AddressRefused) as caught:
        checked_base_url(f"https://{host}/v1")
    assert caught.value.reason in ("forbidden", "unresolved")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://user:secret@api.example.com", "user_info"),
        ("https://user@api.example.com", "user_info"),
        ("https://api.example.com@127.0.0.1/", "user_info"),
        ("ftp://api.example.com", "malformed"),
        ("file:///etc/passwd", "malformed"),
        ("gopher://api.example.com", "malformed"),
        ("unix:///run/docker.sock", "malformed"),
        ("api.example.com/v1", "malformed"),
        ("//api.example.com/v1", "malformed"),
        ("https://", "malformed"),
        ("https:///v1", "malformed"),
        ("https://api.example.com:0/", "malformed"),
        ("https://api.example.com:99999/", "malformed"),
        ("https://api.example.com:x/", "malformed"),
        ("https://api.example.com/v1?key=1", "malformed"),
        ("https://api.example.com/v1?", "malformed"),
        ("https://api.example.com/v1#part", "malformed"),
        ("https://api.example.com\\@127.0.0.1/", "malformed"),
        ("https://api.example.com /", "malformed"),
        ("https://api.example.com/\r\nHost: x", "malformed"),
        ("https://api.example.com/\t", "malformed"),
        ("https://bücher.example/", "malformed"),
        ("https://[fe80::1%25eth0]/", "malformed"),
        ("https://[::1/", "malformed"),
        ("https://" + "a" * 600, "malformed"),
        ("", "malformed"),
    ],
)
def test_what_is_no_plain_address_is_refused(url: str, reason: str) -> None:
    assert refused(url, *PUBLIC) == reason


def test_a_name_that_nobody_knows_is_refused() -> None:
    assert refused("https://no-such-name.example.com") == "unresolved"


def test_networks_are_read_and_nonsense_is_named() -> None:
    assert parse_networks(["10.0.0.0/8", " ", "::1/128"]) == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
    )
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/99"):
        parse_networks(["10.0.0.0/99"])
