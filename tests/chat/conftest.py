"""A chat model that Acme and Globex may call, and connections in anybody's name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from channels.sessions import CookieMiddleware
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client
from django.urls import path

from access.models import APIKey
from access.secrets import new_secret
from accounts.models import User
from inference.chat import partials
from inference.chat.consumers import ChatConsumer
from inference.chat.origins import OwnPagesOnly
from tenants.models import Tenant
from tests.chat.scripted import ScriptedGateway
from tests.factories.access import APIKeyFactory
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory

MODEL = "chatter"


@pytest.fixture(autouse=True)
def _committed(transactional_db: None) -> None:
    """The consumer reads in other threads, so rows must be committed."""


@pytest.fixture
def deployment() -> Any:
    """`chatter`: a platform's model that everyone may chat with."""
    model = ModelFactory(tenant=None, name=MODEL, visibility="public", task="chat")
    return DeploymentFactory(version=ModelVersionFactory(model=model, tenant=None), tenant=None)


@pytest.fixture
def gateway() -> ScriptedGateway:
    """The gateway of all connections of a test."""
    return ScriptedGateway()


@pytest.fixture
async def _closed_store() -> AsyncIterator[None]:
    """The test's loop ends with the test, and so must what is connected on it."""
    yield
    store = partials._stores.pop(asyncio.get_running_loop(), None)
    if store is not None:
        await store._client.aclose()


class Socket(WebsocketCommunicator):
    """As Channels', but connections go back to the pool after each use, as they do in a server."""

    send_input = ApplicationCommunicator.send_input
    receive_output = ApplicationCommunicator.receive_output


class Line:
    """One websocket, as a client would use it."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.subprotocol: Any = None

    async def open(self) -> Line:
        """Connect; the handshake must be accepted."""
        accepted, self.subprotocol = await self.socket.connect(timeout=5)
        assert accepted
        return self

    async def ready(self) -> dict[str, Any]:
        """The server's welcome."""
        return await self.expect("ready")

    async def send(self, kind: str, **fields: Any) -> None:
        """Send one message."""
        await self.socket.send_json_to({"type": kind, **fields})

    async def hear(self, wait_s: float = 5) -> dict[str, Any]:
        """The next message."""
        return await self.socket.receive_json_from(timeout=wait_s)

    async def expect(self, kind: str, wait_s: float = 5) -> dict[str, Any]:
        """The next message, which must be of a kind."""
        message = await self.hear(wait_s)
        assert message["type"] == kind, message
        return message

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        """All messages up to the first of one of these kinds."""
        heard = []
        while not heard or heard[-1]["type"] not in kinds:
            heard.append(await self.hear())
        return heard

    async def ask_for(self, kind: str, answer: str, **fields: Any) -> dict[str, Any]:
        """Send, and wait for the answer."""
        await self.send(kind, **fields)
        return await self.expect(answer)

    async def new_chat(self, **fields: Any) -> str:
        """A chat's id."""
        created = await self.ask_for("chat.create", "chat.created", model=MODEL, **fields)
        return created["chat"]["chat"]

    async def close_code(self, wait_s: float = 5) -> int:
        """The code with which the server closes, next."""
        message = await self.socket.receive_output(timeout=wait_s)
        assert message["type"] == "websocket.close", message
        return message["code"]

    async def leave(self) -> None:
        """The client is gone."""
        await self.socket.disconnect(timeout=10)


Connect = Callable[..., Awaitable[Line]]


@pytest.fixture
async def connect(
    gateway: ScriptedGateway, deployment: Any, _closed_store: None
) -> AsyncIterator[Callable[..., Awaitable[Line]]]:
    """Open connections: `await connect(user=alice)`, `await connect(key=secret)`, `await connect()`."""
    consumer = ChatConsumer.as_asgi(gateway_of_loop=lambda: gateway)
    application = OwnPagesOnly(CookieMiddleware(URLRouter([path("ws/chat/", consumer)])))
    lines: list[Line] = []

    async def connect(
        *,
        user: User | None = None,
        client: Client | None = None,
        key: str = "",
        query: str = "",
        subprotocols: tuple[str, ...] = ("atrium.chat.v1",),
        origin: str | None = "http://testserver",
    ) -> Line:
        headers = [(b"host", b"testserver")]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        if user is not None:
            client = Client()
            await client.aforce_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
        if client is not None:
            cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
            headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode()))
        if key:
            subprotocols = (*subprotocols, f"atr.key.{key}")
        socket = Socket(application, f"/ws/chat/{query}", headers=headers, subprotocols=list(subprotocols))
        socket.scope["client"] = ("203.0.113.7", 4711)
        line = await Line(socket).open()
        lines.append(line)
        return line

    yield connect
    for line in lines:
        with contextlib.suppress(BaseException):
            await line.leave()


@pytest.fixture
def acme_key(acme: Tenant) -> str:
    """The secret of a key of Acme that may call models."""
    secret = new_secret()
    key: APIKey = APIKeyFactory(tenant=acme, secret=secret)
    assert key.scopes == ["invoke"]
    return secret
