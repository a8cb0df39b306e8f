"""A transport for servers elsewhere that looks where it goes at the moment when it connects.

SECURITY: server-side request forgery. A name is resolved once per connection, every address it has is
judged, and the connection goes to the judged address itself: a name that answers differently a second later
(DNS rebinding) gains nothing. Redirects are never followed and proxies of the environment never used, by the
client that this transport serves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence

import httpcore
import httpx

from models_registry.addresses import Network, is_allowed

_ATTEMPTS = 3


class AddressRefused(Exception):
    """The server's name leads nowhere that a remote engine may go."""


async def resolve(host: str, port: int) -> list[str]:
    """Every address of `host`, as the system's resolver orders them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _PinnedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to judged addresses only. TLS still checks the certificate against the name."""

    def __init__(self, secure: bool, networks: Sequence[Network]) -> None:
        self._secure = secure
        self._networks = networks
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first judged address that answers. `timeout` (seconds) is for all of it."""
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(host, port, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error

    async def _connect(
        self,
        host: str,
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("The name of the server cannot be resolved.") from error
        allowed = [
            address for address in found if is_allowed(address, secure=self._secure, networks=self._networks)
        ]
        if not allowed:
            raise AddressRefused("The server's address is not one that a remote engine may speak to.")
        failed: Exception | None = None
        for address in allowed[:_ATTEMPTS]:
            try:
                return await self._inner.connect_tcp(address, port, None, local_address, socket_options)
            except httpcore.ConnectError as error:
                failed = error
        raise httpcore.ConnectError("The server cannot be reached.") from failed

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a remote engine is reached over the network."""
        raise AddressRefused("A remote engine is never reached through a socket file.")

    async def sleep(self, seconds: float) -> None:
        """For httpcore's own retries, which are off."""
        await asyncio.sleep(seconds)


class PinnedTransport(httpx.AsyncHTTPTransport):
    """httpx over connections that go to judged addresses only; HTTP/1.1, pooled, no retries of its own."""

    def __init__(self, *, secure: bool, networks: Sequence[Network], connections: int) -> None:
        context = httpx.create_ssl_context() if secure else None
        super().__init__(verify=context or False, trust_env=False)
        # httpx offers no way to hand in a network backend, so the pool that it has just made is replaced.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=15.0,
            http1=True,
            http2=False,
            network_backend=_PinnedBackend(secure, networks),
        )
