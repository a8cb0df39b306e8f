"""The transport of remote engines goes where it may, judged at the moment when it connects."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core import clock
from inference.worker.engines import transport
from inference.worker.engines.transport import AddressRefused, PinnedTransport
from models_registry.addresses import parse_networks

LOOPBACK = parse_networks(["127.0.0.0/8"])


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that answers 200 to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextmanager
def names(answers: dict[str, list[list[str]]]) -> Iterator[list[str]]:
    """The resolver answers from `answers`, one list of addresses after another; gives the names asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        remaining = answers[host]
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    with mock.patch.object(transport, "resolve", resolve):
        yield asked


async def get(url: str, networks: Any = LOOPBACK) -> int:
    carrier = PinnedTransport(secure=url.startswith("https"), networks=networks, connections=2)
    async with httpx.AsyncClient(transport=carrier, trust_env=False) as client:
        return (await client.get(url, timeout=2)).status_code


async def test_it_reaches_an_allowed_network(port: int) -> None:
    assert await get(f"http://127.0.0.1:{port}/") == 200


async def test_it_resolves_names_by_the_system(port: int) -> None:
    assert await get(f"http://localhost:{port}/", parse_networks(["127.0.0.0/8", "::1/128"])) == 200


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "127.1"]
)
async def test_it_refuses_this_machine_unless_allowed(port: int, host: str) -> None:
    with pytest.raises((AddressRefused, httpx.ConnectError)):
        await get(f"http://{host}:{port}/", networks=())


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.7", "::ffff:10.0.0.7", "fd00:ec2::254"])
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    with names({"models.example": [[address]]}), pytest.raises(AddressRefused):
        await get("https://models.example/", networks=())


async def test_a_name_that_changes_its_mind_gains_nothing(port: int) -> None:
    """DNS rebinding: what was judged is what is connected to, and the next connection is judged again."""
    with names({"models.example": [["127.0.0.1"], ["169.254.169.254"]]}) as asked:
        assert await get(f"http://models.example:{port}/") == 200
        assert asked == ["models.example"]
        with pytest.raises(AddressRefused):
            await get(f"http://models.example:{port}/")


async def test_the_socket_goes_to_the_judged_address_and_no_other(port: int) -> None:
    opened: list[str] = []
    real = transport.httpcore.AnyIOBackend.connect_tcp

    async def connect(self: Any, host: str, *arguments: Any, **named: Any) -> Any:
        opened.append(host)
        return await real(self, host, *arguments, **named)

    with (
        names({"models.example": [["10.9.9.9", "127.0.0.1"]]}),
        mock.patch.object(transport.httpcore.AnyIOBackend, "connect_tcp", connect),
    ):
        assert await get(f"http://models.example:{port}/") == 200
    assert opened == ["127.0.0.1"]


async def test_the_next_address_is_tried_when_one_does_not_answer(port: int) -> None:
    with names({"models.example": [["127.0.0.2", "127.0.0.1"]]}):
        assert await get(f"http://models.example:{port}/") == 200


async def test_public_servers_need_tls() -> None:
    with names({"models.example": [["93.184.216.34"]]}), pytest.raises(AddressRefused):
        await get("http://models.example/")


async def test_a_name_that_nobody_knows_is_unreachable() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror

    with mock.patch.object(transport, "resolve", resolve), pytest.raises(httpx.ConnectError):
        await get("https://models.example/")


async def test_a_resolver_that_hangs_is_given_up() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    carrier = PinnedTransport(secure=True, networks=(), connections=2)
    async with httpx.AsyncClient(transport=carrier, trust_env=False) as client:
        with mock.patch.object(transport, "resolve", resolve), pytest.raises(httpx.ConnectTimeout):
            await client.get("https://models.example/", timeout=0.1)


async def test_socket_files_are_refused() -> None:
    backend = transport._PinnedBackend(secure=False, networks=LOOPBACK)
    with pytest.raises(AddressRefused):
        await backend.connect_unix_socket("/run/anything.sock")


async def test_proxies_of_the_environment_are_not_used(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert await get(f"http://127.0.0.1:{port}/") == 200


# --- TLS


def _certificate(folder: Path, name: str) -> Path:
    """A certificate for `name` that is its own authority, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return file


async def test_the_certificate_is_checked_against_the_name_although_the_address_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _certificate(tmp_path, "models.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with names({"models.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]}):
            with pytest.raises(httpx.ConnectError, match="self-signed"):
                await get(f"https://models.example:{port}/")
            monkeypatch.setenv("SSL_CERT_FILE", str(file))
            assert await get(f"https://models.example:{port}/") == 200
            with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
                await get(f"https://other.example:{port}/")
