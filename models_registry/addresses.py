"""Where a remote engine may live: the check of its base URL when it is registered.

SECURITY: server-side request forgery. The address is an operator's word, never a client's; still every
address of the name is judged, because names lead to cloud metadata and to the inside of networks
(GO-2026-5652). A name can change its mind later, so the engine judges again at every connection; this check
is what a person gets told.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

from models_registry.errors import AddressRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], list[str]]

MAX_URL_LENGTH = 500

# Never, whatever networks are allowed: cloud metadata and neighbours on the link, and what is no host at all.
_NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "64:ff9b:1::/48",
        "fd00:ec2::/32",
        "fe80::/10",
        "ff00::/8",
    )
)
# Not the public internet, some of it called global by older versions of Python.
_INSIDE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "::/96",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fec0::/10",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks out of CIDR texts. Raises ValueError naming the one that is wrong."""
    return tuple(ipaddress.ip_network(text.strip()) for text in texts if text.strip())


def is_allowed(text: str, *, secure: bool, networks: Sequence[Network]) -> bool:
    """Whether a connection may go to this address: inside `networks`, or public over TLS (`secure`).

    Public without TLS is refused because prompts and the credential would travel in the clear.
    """
    try:
        address = _reached(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return False
    if _is_in(address, _NEVER):
        return False
    if _is_in(address, networks):
        return True
    return secure and address.is_global and not address.is_reserved and not _is_in(address, _INSIDE)


def resolve(host: str, port: int) -> list[str]:
    """Every address of `host`, from the system's resolver. Raises OSError; may take seconds."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_base_url(url: str, *, resolver: Resolver = resolve) -> str:
    """The base URL in its stored form (no trailing slash). Raises AddressRefused with the reason."""
    parts = _split(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        addresses = resolver(host, port)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(
            _("The name of the server, %(host)s, cannot be resolved.") % {"host": host}, reason="unresolved"
        ) from error
    networks = parse_networks(settings.REMOTE_ENGINE_NETWORKS)
    secure = parts.scheme == "https"
    # All of them, not one: which address a connection takes is chance.
    if not addresses or not all(is_allowed(item, secure=secure, networks=networks) for item in addresses):
        raise _forbidden(secure)
    return url.rstrip("/")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_LENGTH or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise _malformed(_("The address of a remote engine is a plain https URL."))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _malformed(_("The address of a remote engine is a plain https URL.")) from error
    if parts.scheme not in ("http", "https"):
        raise _malformed(_("The address of a remote engine begins with https:// or http://."))
    if "@" in parts.netloc:
        raise AddressRefused(
            _("Leave user name and password out of the address; give the credential by itself."),
            reason="user_info",
        )
    if not parts.hostname or "%" in parts.hostname or port == 0:
        raise _malformed(_("The address of a remote engine names no server."))
    if "?" in url or "#" in url:
        raise _malformed(_("The address of a remote engine has no query and no fragment."))
    return parts


def _malformed(message: str) -> AddressRefused:
    return AddressRefused(message, reason="malformed")


def _forbidden(secure: bool) -> AddressRefused:
    if secure:
        message = _(
            "The server's address is inside a private network. Allow the network with "
            "ATRIUM_REMOTE_ENGINE_NETWORKS if an engine of yours lives there."
        )
    else:
        message = _(
            "Plain http is for networks named in ATRIUM_REMOTE_ENGINE_NETWORKS only: prompts and the "
            "credential would travel in the clear. Use https."
        )
    return AddressRefused(message, reason="forbidden")


def _reached(address: Address) -> Address:
    """The address that a connection reaches in the end: some IPv6 forms carry an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address.teredo is not None:
            return address.teredo[1]
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
