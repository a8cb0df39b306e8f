"""A transport for servers elsewhere that looks where it goes at the moment when it connects.

SECURITY: server-side request forgery. A name is resolved once per connection, every address it has is
judged, and the connection goes to the judged address itself: a name that answers differently a second later
(DNS rebinding) gains nothing. Redirects are never followed and proxies of the environment never used, by the
client that this transport serves.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from models_registry.addresses import Network, is_allowed

_ATTEMPTS = 3
_KEEP_ALIVE_S = 15.0


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


class PinnedTransport(httpx.AsyncBaseTransport):
    """httpx over connections that go to judged addresses only: HTTP/1.1, kept alive, no retries of its own.

    httpcore's own pool looks at every connection, with a system call each, whenever a request begins or ends; here
    the connection that was used last is taken, so a request costs the same however many are open.
    """

    def __init__(self, *, secure: bool, networks: Sequence[Network], connections: int) -> None:
        self._backend = _PinnedBackend(secure, networks)
        self._context = httpx.create_ssl_context() if secure else None
        self._room = asyncio.Semaphore(connections)
        self._idle: list[httpcore.AsyncHTTPConnection] = []
        self._open: set[httpcore.AsyncHTTPConnection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; the connection is free again when the response has been closed."""
        outgoing = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        await self._wait_for_room(request.extensions.get("timeout", {}).get("pool"))
        try:
            connection = await self._connection(outgoing.url.origin)
        except BaseException:
            self._room.release()
            raise
        try:
            with _errors_of_httpx():
                response = await connection.handle_async_request(outgoing)
        except BaseException:
            await self._give_back(connection)
            raise
        body = _Body(response.stream, lambda: self._give_back(connection))
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=body,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        self._idle.clear()
        for connection in tuple(self._open):
            await connection.aclose()
        self._open.clear()

    async def _wait_for_room(self, timeout_s: float | None) -> None:
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._room.acquire()
        except TimeoutError as error:
            raise httpx.PoolTimeout("All connections to the server are in use.") from error

    async def _connection(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.can_handle_request(origin) and not connection.has_expired():
                return connection
            self._open.discard(connection)
            await connection.aclose()
        connection = httpcore.AsyncHTTPConnection(
            origin=origin,
            ssl_context=self._context,
            keepalive_expiry=_KEEP_ALIVE_S,
            network_backend=self._backend,
        )
        self._open.add(connection)
        return connection

    async def _give_back(self, connection: httpcore.AsyncHTTPConnection) -> None:
        self._room.release()
        if connection in self._open and connection.is_idle() and not connection.is_closed():
            self._idle.append(connection)
            return
        self._open.discard(connection)
        await connection.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response. Closing it before its end closes the connection."""

    def __init__(self, stream: Any, give_back: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._give_back = give_back
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with _errors_of_httpx():
                await self._stream.aclose()
        finally:
            await self._give_back()


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    """The two libraries name their errors alike; httpx promises its own."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
