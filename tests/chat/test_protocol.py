"""Who may open a line, how, and what may be said over it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import Client

from access.models import APIKey
from access.secrets import new_secret
from core import clock
from core.scoping import platform_scope
from inference.chat import consumers
from inference.chat.consumers import is_key_inside
from inference.chat.origins import is_own
from inference.gateway import Rejected
from tenants.models import Membership, Tenant
from tests.chat.conftest import Connect
from tests.chat.scripted import ScriptedGateway
from tests.factories.access import APIKeyFactory
from tests.factories.tenants import MembershipFactory
from tests.waiting import until


def change(model: Any, pk: Any, **fields: Any) -> Any:
    """Change a row behind everybody's back, from a coroutine."""

    def write() -> None:
        with platform_scope(reason="tests"):
            model.objects.filter(pk=pk).update(**fields)

    return sync_to_async(write)()


async def test_a_key_comes_as_a_subprotocol_and_is_never_echoed(connect: Connect, acme_key: str) -> None:
    line = await connect(key=acme_key, origin=None)
    assert line.subprotocol == "atrium.chat.v1"
    ready = await line.ready()
    assert ready["tenant"]["slug"] == "acme"
    assert acme_key not in json.dumps(ready)


async def test_a_key_alone_among_the_subprotocols_selects_none(connect: Connect, acme_key: str) -> None:
    line = await connect(key=acme_key, origin=None, subprotocols=())
    assert line.subprotocol is None
    await line.ready()


async def test_a_key_comes_as_the_first_message(connect: Connect, acme_key: str) -> None:
    line = await connect(origin=None)
    error = await line.ask_for("chat.list", "error")
    assert error["code"] == "not_authenticated"
    await line.ask_for("auth", "ready", api_key=acme_key)
    error = await line.ask_for("auth", "error", api_key=acme_key)
    assert error["code"] == "already_authenticated"


async def test_a_wrong_key_is_refused_and_the_line_closed(connect: Connect) -> None:
    line = await connect(origin=None)
    error = await line.ask_for("auth", "error", api_key=new_secret())
    assert error["code"] == "invalid_api_key"
    assert await line.close_code() == 4401


async def test_a_wrong_key_is_not_made_good_by_a_session(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice, key=new_secret())
    error = await line.expect("error")
    assert (error["code"], await line.close_code()) == ("invalid_api_key", 4401)


async def test_a_key_in_the_address_is_refused_even_beside_a_session(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice, query="?token=atr-xyz")
    error = await line.expect("error")
    assert (error["code"], await line.close_code()) == ("key_in_query", 4400)


@pytest.mark.parametrize(
    "query", [b"api_key=x", b"token=atr-xyz", b"x=%61tr-1", b"x=ATR-1", b"authorization=Bearer"]
)
def test_keys_are_seen_in_addresses_however_they_are_written(query: bytes) -> None:
    assert is_key_inside(query)


def test_other_queries_are_not_taken_for_keys() -> None:
    assert not is_key_inside(b"chat=chat_01k9&lang=zh-hans")


async def test_nobody_is_asked_to_leave_after_five_seconds(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "AUTH_TIMEOUT_S", 0.1)
    line = await connect(origin=None)
    error = await line.expect("error")
    assert (error["code"], await line.close_code()) == ("auth_timeout", 4401)


async def test_a_key_without_the_scope_to_invoke_is_refused(connect: Connect, acme: Tenant) -> None:
    secret = new_secret()
    await sync_to_async(APIKeyFactory)(tenant=acme, secret=secret, scopes=["read"])
    line = await connect(key=secret, origin=None)
    error = await line.expect("error")
    assert (error["code"], await line.close_code()) == ("missing_scope", 4403)


async def test_a_key_is_held_to_its_networks(connect: Connect, acme: Tenant) -> None:
    secret = new_secret()
    await sync_to_async(APIKeyFactory)(tenant=acme, secret=secret, allowed_networks=["198.51.100.0/24"])
    line = await connect(key=secret, origin=None)
    error = await line.expect("error")
    assert (error["code"], await line.close_code()) == ("address_not_allowed", 4403)


async def test_the_session_decides_the_tenant(connect: Connect, alice: Any, globex: Tenant) -> None:
    await sync_to_async(MembershipFactory)(tenant=globex, user=alice, role="developer")
    client = Client()
    await client.aforce_login(alice, backend=settings.AUTHENTICATION_BACKENDS[0])
    session = await sync_to_async(lambda: client.session)()
    session["tenant_id"] = str(globex.pk)
    await sync_to_async(session.save)()
    line = await connect(client=client)
    ready = await line.ready()
    assert ready["tenant"]["slug"] == "globex"


async def test_a_session_counts_only_with_an_origin(
    connect: Connect, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "AUTH_TIMEOUT_S", 0.1)
    line = await connect(user=alice, origin=None)
    assert (await line.expect("error"))["code"] == "auth_timeout"


async def test_foreign_pages_are_denied_the_handshake(connect: Connect, alice: Any) -> None:
    with pytest.raises(AssertionError):
        await connect(user=alice, origin="https://evil.example")


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("https://atrium.example", "atrium.example", True),
        ("https://atrium.example:8443", "atrium.example:8443", True),
        ("http://atrium.example:3000", "atrium.example:8000", False),
        ("https://evil.example", "atrium.example", False),
        ("https://evil.example", "evil.example", False),
        ("null", "atrium.example", False),
        ("https://front.example", "atrium.example", True),
        ("https://atrium.example", "", False),
    ],
)
def test_an_origin_is_own_when_it_is_the_host_or_trusted(
    settings: Any, origin: str, host: str, own: bool
) -> None:
    settings.ALLOWED_HOSTS = ["atrium.example"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://front.example"]
    assert is_own(origin, host) is own


@pytest.mark.slow
async def test_a_revoked_key_is_out_within_a_second(connect: Connect, acme_key: str, acme: Tenant) -> None:
    line = await connect(key=acme_key, origin=None)
    await line.ready()

    def revoke() -> None:
        with platform_scope(reason="tests"):
            APIKey.objects.update(revoked_at=clock.now())

    await sync_to_async(revoke)()
    error = await line.expect("error", wait_s=1.5)
    assert (error["code"], await line.close_code()) == ("invalid_api_key", 4403)


@pytest.mark.slow
async def test_a_suspended_tenant_is_out_within_a_second_in_the_middle_of_an_answer(
    connect: Connect, alice: Any, acme: Tenant, gateway: ScriptedGateway
) -> None:
    gateway.script.hold_after = 8
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Hello", client_id="q1")
    await line.until("chat.delta")
    await change(Tenant, acme.pk, status="suspended")
    error = (await asyncio.wait_for(line.until("error"), 2))[-1]
    assert (error["code"], await line.close_code()) == ("tenant_suspended", 4403)
    await until(lambda: gateway.sent[0].closed_at is not None)


async def test_a_stream_that_ends_with_the_loss_of_authority_closes_the_line(
    connect: Connect, alice: Any, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "WATCH_S", 60.0)
    gateway.script.hold_after = 8
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Hello", client_id="q1")
    await line.until("chat.delta")
    gateway.sent[0].interrupt(Rejected(403, "tenant_suspended", "Suspended."))
    error = (await line.until("error"))[-1]
    assert (error["code"], error["chat"]) == ("tenant_suspended", chat)
    await line.expect("error")
    assert await line.close_code() == 4403


@pytest.mark.slow
async def test_a_removed_member_is_out_within_a_second(connect: Connect, bob: Any) -> None:
    line = await connect(user=bob)
    await line.ready()

    def remove() -> None:
        with platform_scope(reason="tests"):
            Membership.objects.filter(user=bob).delete()

    await sync_to_async(remove)()
    await line.expect("error", wait_s=1.5)
    assert await line.close_code() == 4403


async def test_a_question_after_signing_out_closes_the_line(
    connect: Connect, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    await client.aforce_login(alice, backend=settings.AUTHENTICATION_BACKENDS[0])
    line = await connect(client=client)
    await line.ready()
    chat = await line.new_chat()
    await sync_to_async(client.logout)()
    await line.send("chat.send", chat=chat, content="Still here?", client_id="q1")
    error = await line.expect("error")
    assert (error["code"], await line.close_code()) == ("signed_out", 4403)


@pytest.mark.slow
async def test_an_idle_line_ends_with_its_session(
    connect: Connect, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CONFIRM_EVERY", 1)
    client = Client()
    await client.aforce_login(alice, backend=settings.AUTHENTICATION_BACKENDS[0])
    line = await connect(client=client)
    await line.ready()
    await sync_to_async(client.logout)()
    error = await line.expect("error")
    assert (error["code"], await line.close_code()) == ("signed_out", 4403)


MALFORMED = [
    ("nonsense", ""),
    ('{"type":"chat.launch"}', "type"),
    ('{"type":"chat.list","limit":1000}', "limit"),
    ('{"type":"chat.list","colour":"red"}', ""),
    ('{"type":"chat.create","model":"m","params":{"temperature":9}}', "params.temperature"),
    ('{"type":"chat.create","model":"m","params":{"max_tokens":0}}', "params.max_tokens"),
    ('{"type":"chat.create","model":"m","params":{"temperature":NaN}}', ""),
    ('{"type":"chat.send","chat":"chat_1","content":"  ","client_id":"a"}', "content"),
    ('{"type":"chat.send","chat":"chat_1","content":"a\\u0000b","client_id":"a"}', "content"),
    ('{"type":"chat.send","chat":"chat_1","content":"a","client_id":""}', "client_id"),
    ('{"type":"chat.resume","chat":"chat_1","message":"msg_1","received":-1}', "received"),
    ('{"type":"chat.history","chat":"../../etc/passwd"}', "chat"),
    ("[" * 2000, ""),
]


async def test_malformed_messages_are_typed_errors_and_the_line_stays(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice)
    await line.ready()
    for text, param in MALFORMED:
        await line.socket.send_to(text_data=text)
        error = await line.expect("error")
        assert (error["code"], error.get("param", "")) == ("invalid_message", param), text
    await line.socket.send_to(bytes_data=b"\x00\x01")
    assert (await line.expect("error"))["code"] == "invalid_message"
    await line.ask_for("ping", "pong")


async def test_a_message_that_is_too_large_is_refused_unread(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice)
    await line.ready()
    await line.socket.send_to(text_data=json.dumps({"type": "ping", "x": "中" * 200_000}))
    assert (await line.expect("error"))["code"] == "message_too_large"
    await line.ask_for("ping", "pong")


async def test_a_chatterer_is_slowed_and_then_shown_out(
    connect: Connect, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "REFUSALS_BEFORE_CLOSE", 3)
    line = await connect(user=alice)
    await line.ready()
    for _ in range(consumers.BURST + 20):
        await line.send("ping")
    heard = [await line.hear() for _ in range(consumers.BURST + 3)]
    kinds = [message.get("code", message["type"]) for message in heard]
    assert kinds.count("pong") >= consumers.BURST - 1
    assert "rate_limited" in kinds
    while (message := await line.socket.receive_output(timeout=5))["type"] == "websocket.send":
        pass
    assert message["code"] == 4429


@pytest.mark.slow
async def test_a_reader_that_does_not_read_is_dropped_and_its_engine_freed(
    connect: Connect, alice: Any, gateway: ScriptedGateway, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SLOW_READER_TIMEOUT_S = 0.2
    gateway.script.text = "x" * 500
    gateway.script.cuts = [1]
    gateway.script.delay_s = 0.01
    stuck = asyncio.Event()

    send = consumers.ChatConsumer.send

    async def clogged(self: Any, message: dict[str, Any]) -> None:
        if "chat.delta" in message.get("text", ""):
            stuck.set()
            await asyncio.sleep(60)
        await send(self, message)

    monkeypatch.setattr(consumers.ChatConsumer, "send", clogged)
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Hello", client_id="q1")
    await line.expect("chat.started")
    await asyncio.wait_for(stuck.wait(), 5)
    for _ in range(100):
        if gateway.sent[0].closed_at is not None:
            break
        await asyncio.sleep(0.05)
    assert gateway.sent[0].closed_at is not None
