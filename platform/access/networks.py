"""Networks from which a key may be used: CIDR notation in, a yes or no out."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.utils.translation import gettext as _

from core.errors import InvalidInput

MAX_NETWORKS = 100
Network = IPv4Network | IPv6Network


def parse_network(text: str) -> Network:
    """One network. Raises InvalidInput that says what is wrong; never asks a name server."""
    stripped = text.strip()
    try:
        return ip_network(stripped)
    except ValueError:
        pass
    try:
        meant = ip_network(stripped, strict=False)
    except ValueError:
        raise InvalidInput(
            _("“%(text)s” is not a network. Write an address or a range, such as 203.0.113.0/24.")
            % {"text": stripped[:64]},
            field="allowed_networks",
        ) from None
    raise InvalidInput(
        _("“%(text)s” is an address inside a network. Did you mean %(meant)s?")
        % {"text": stripped, "meant": meant},
        field="allowed_networks",
    )


def normalise_networks(texts: Iterable[str]) -> list[str]:
    """The networks in one spelling each, without repeats. Raises InvalidInput."""
    networks = list(dict.fromkeys(str(parse_network(text)) for text in texts))
    if len(networks) > MAX_NETWORKS:
        raise InvalidInput(
            _("At most %(count)d networks can be listed.") % {"count": MAX_NETWORKS}, field="allowed_networks"
        )
    return networks


def is_address_allowed(networks: Iterable[str], address: str) -> bool:
    """True when `networks` is empty or one of them holds `address`. An address that cannot be read is
    refused."""
    listed = list(networks)
    if not listed:
        return True
    try:
        host = ip_address(address)
    except ValueError:
        return False
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        # A dual-stack socket reports 203.0.113.7 as ::ffff:203.0.113.7.
        host = host.ipv4_mapped
    return any(host in ip_network(network) for network in listed)


def is_within(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """True when every network of `inner` lies inside one of `outer`; an empty list stands for everywhere."""
    wide = [ip_network(text) for text in outer]
    if not wide:
        return True
    narrow = [ip_network(text) for text in inner]
    return bool(narrow) and all(any(_contains(big, small) for big in wide) for small in narrow)


def _contains(big: Network, small: Network) -> bool:
    if isinstance(big, IPv4Network) and isinstance(small, IPv4Network):
        return small.subnet_of(big)
    if isinstance(big, IPv6Network) and isinstance(small, IPv6Network):
        return small.subnet_of(big)
    return False
