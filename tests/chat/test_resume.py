"""A line that breaks: the engine stops, the text stays, and the answer goes on where it was, from wherever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from core.scoping import platform_scope, tenant_scope
from inference.chat import partials
from inference.chat.models import ChatMessage
from tests.chat.conftest import Connect, Line
from tests.chat.scripted import Script, ScriptedGateway
from tests.chat.test_conversation import text_of
from tests.factories.models_registry import ModelVersionFactory


async def part_of_an_answer(line: Line, gateway: ScriptedGateway, characters: int) -> tuple[str, str, str]:
    """Ask, and read this many characters: the chat, the answer, and the text."""
    gateway.script.hold_after = characters
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Tell me", client_id="q1")
    heard = [await line.expect("chat.started")]
    while len(text_of(heard)) < characters:
        heard.append(await line.expect("chat.delta"))
    return chat, heard[0]["message"], text_of(heard)


@pytest.mark.slow
async def test_when_the_client_leaves_the_engine_stops_within_a_second_and_the_text_stays(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    chat, _, text = await part_of_an_answer(line, gateway, 12)
    left_at = asyncio.get_running_loop().time()
    await line.leave()
    assert gateway.sent[0].closed_at - left_at < 1
    again = await connect(user=alice)
    await again.ready()
    history = await again.ask_for("chat.history", "chat.history", chat=chat)
    assert (history["messages"][1]["state"], history["messages"][1]["content"]) == ("interrupted", text)


@pytest.mark.slow
@pytest.mark.parametrize("received", [0, 5, 12])
async def test_an_answer_goes_on_from_the_next_token_on_another_connection(
    connect: Connect, alice: Any, gateway: ScriptedGateway, received: int
) -> None:
    line = await connect(user=alice)
    chat, message, text = await part_of_an_answer(line, gateway, 12)
    await line.leave()
    gateway.script.hold_after = None
    gateway.script.cuts = [5]
    again = await connect(user=alice)
    await again.ready()
    await again.send("chat.resume", chat=chat, message=message, received=received)
    heard = await again.until("chat.completed")
    assert heard[0]["type"] == "chat.started"
    assert heard[0]["offset"] == received
    assert gateway.sent[1].resume_from == [[ord(letter) for letter in text]]
    assert (
        text[:received] + "".join(m["text"] for m in heard if m["type"] == "chat.delta")
        == gateway.script.text
    )
    assert next(m["offset"] for m in heard if m["type"] == "chat.delta") == received


@pytest.mark.slow
async def test_a_reader_who_has_more_than_was_kept_is_told_to_cut(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    chat, message, _ = await part_of_an_answer(line, gateway, 12)
    await line.leave()
    gateway.script.hold_after = None
    again = await connect(user=alice)
    await again.ready()
    await again.send("chat.resume", chat=chat, message=message, received=30)
    heard = await again.until("chat.completed")
    assert heard[0]["offset"] == 12
    assert heard[1]["offset"] == 12


async def test_an_answer_that_ended_meanwhile_is_given_from_the_database(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Tell me", client_id="q1")
    heard = await line.until("chat.completed")
    await line.send("chat.resume", chat=chat, message=heard[0]["message"], received=10)
    rest = await line.until("chat.completed")
    assert "".join(m["text"] for m in rest if m["type"] == "chat.delta") == gateway.script.text[10:]
    assert rest[-1]["usage"] == heard[-1]["usage"]
    assert len(gateway.sent) == 1


@pytest.mark.slow
async def test_a_half_open_connection_loses_its_answer_to_the_new_one(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    old = await connect(user=alice)
    chat, message, _ = await part_of_an_answer(old, gateway, 12)
    new = await connect(user=alice)
    await new.ready()
    first, gateway.script = gateway.script, Script()
    await new.send("chat.resume", chat=chat, message=message, received=12)
    heard = await new.until("chat.completed")
    assert heard[1]["offset"] == 12
    # The old one notices with its next sign of life, or with its next text, whichever is first.
    first.release.set()
    error = (await old.until("error"))[-1]
    assert error["code"] == "continued_elsewhere"
    assert gateway.sent[0].closed_at is not None
    history = await new.ask_for("chat.history", "chat.history", chat=chat)
    assert history["messages"][1]["content"] == gateway.script.text
    assert history["messages"][1]["state"] == "complete"


async def killed_in_the_middle(chat: str, message: str) -> None:
    """As after a SIGKILL of the web process: the row still says "streaming", the text is in Valkey, nobody lives."""

    def undo() -> None:
        with platform_scope(reason="tests"):
            row = ChatMessage.objects.exclude(token_ids=[]).get()
            assert row.public_id == message
            ChatMessage.objects.filter(pk=row.pk).update(state="streaming", content="", token_ids=[])
            rows.append((row.tenant_id, row.pk, row.writer, row.content, row.token_ids))

    rows: list[Any] = []
    await sync_to_async(undo)()
    tenant, pk, writer, text, tokens = rows[0]
    store = partials.store()
    await store.claim(tenant, pk, writer)
    await store.write(tenant, pk, writer, 0, text[:7], tokens[:7])
    await store.write(tenant, pk, writer, 1, text[7:], tokens[7:])
    await store._client.delete(f"atrium:{{{tenant}}}:chat:{pk}:alive")


@pytest.mark.slow
async def test_after_a_killed_web_process_nothing_shown_is_lost(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    chat, message, text = await part_of_an_answer(line, gateway, 12)
    await line.leave()
    await killed_in_the_middle(chat, message)
    gateway.script.hold_after = None
    again = await connect(user=alice)
    await again.ready()
    history = await again.ask_for("chat.history", "chat.history", chat=chat)
    assert (history["messages"][1]["state"], history["messages"][1]["content"]) == ("interrupted", text)
    await again.send("chat.resume", chat=chat, message=message, received=8)
    heard = await again.until("chat.completed")
    assert text[:8] + "".join(m["text"] for m in heard if m["type"] == "chat.delta") == gateway.script.text


@pytest.mark.slow
async def test_after_a_killed_web_process_the_chat_takes_new_questions(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    chat, message, text = await part_of_an_answer(line, gateway, 12)
    await line.leave()
    await killed_in_the_middle(chat, message)
    gateway.script.hold_after = None
    again = await connect(user=alice)
    await again.ready()
    await again.send("chat.send", chat=chat, content="And then?", client_id="q2")
    await again.until("chat.completed")
    assert gateway.sent[-1].body["messages"][1] == {"role": "assistant", "content": text}


@pytest.mark.slow
async def test_history_shows_what_another_window_is_reading(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    chat, _, text = await part_of_an_answer(line, gateway, 12)
    other = await connect(user=alice)
    await other.ready()
    history = await other.ask_for("chat.history", "chat.history", chat=chat)
    assert (history["messages"][1]["state"], history["messages"][1]["content"]) == ("streaming", text)
    gateway.script.release.set()
    await line.until("chat.completed")


@pytest.mark.slow
async def test_another_versions_text_is_not_continued(
    connect: Connect, alice: Any, gateway: ScriptedGateway, deployment: Any
) -> None:
    line = await connect(user=alice)
    chat, message, _ = await part_of_an_answer(line, gateway, 12)
    await line.leave()

    def replace_version() -> None:
        version = ModelVersionFactory(model=deployment.version.model, tenant=None)
        with platform_scope(reason="tests"):
            type(deployment).objects.filter(pk=deployment.pk).update(version=version)

    await sync_to_async(replace_version)()
    again = await connect(user=alice)
    await again.ready()
    await again.send("chat.resume", chat=chat, message=message, received=0)
    heard = await again.until("error")
    assert heard[-1]["code"] == "not_resumable"
    assert text_of(heard) == gateway.script.text[:12]  # what there is, is still given
    assert len(gateway.sent) == 1


@pytest.mark.slow
async def test_an_engine_that_begins_a_different_text_is_not_shown(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    chat, message, text = await part_of_an_answer(line, gateway, 12)
    await line.leave()
    gateway.script = Script(text="Something else altogether, and longer.")
    again = await connect(user=alice)
    await again.ready()
    await again.send("chat.resume", chat=chat, message=message, received=12)
    heard = await again.until("error")
    assert heard[-1]["code"] == "not_resumable"
    assert [m for m in heard if m["type"] == "chat.delta"] == []
    history = await again.ask_for("chat.history", "chat.history", chat=chat)
    assert (history["messages"][1]["state"], history["messages"][1]["content"]) == ("interrupted", text)


async def test_a_whole_answer_keeps_no_tokens_and_leaves_no_text_in_valkey(
    connect: Connect, alice: Any, acme: Any
) -> None:
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Tell me", client_id="q1")
    await line.until("chat.completed")

    def tokens() -> list[Any]:
        with tenant_scope(acme.pk):
            return list(ChatMessage.objects.values_list("token_ids", flat=True))

    assert await sync_to_async(tokens)() == [[], []]
    client = partials.store()._client
    left = [key async for key in client.scan_iter(f"atrium:{{{acme.pk}}}:chat:*")]
    assert [await client.hkeys(key) for key in left] == [[b"writer"]]
    assert 0 < await client.ttl(left[0]) <= partials.NAME_TTL_S


async def test_partial_answers_carry_the_tenants_id_and_go_by_themselves(
    connect: Connect, alice: Any, acme: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    await part_of_an_answer(line, gateway, 12)
    client = partials.store()._client
    keys = [key async for key in client.scan_iter("atrium:*:chat:*")]
    mine = [key for key in keys if f"{{{acme.pk}}}".encode() in key]
    assert mine
    for key in mine:
        assert 0 < await client.ttl(key) <= partials.PARTIAL_TTL_S


async def test_a_deleted_chat_stops_its_answer(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    chat, _, _ = await part_of_an_answer(line, gateway, 12)
    await line.send("chat.delete", chat=chat)
    await line.until("chat.deleted")
    for _ in range(50):
        if gateway.sent[0].closed_at is not None:
            break
        await asyncio.sleep(0.02)
    assert gateway.sent[0].closed_at is not None
