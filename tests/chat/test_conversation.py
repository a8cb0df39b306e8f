"""Asking, stopping, asking again; several chats at once; what history keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from inference.gateway import Rejected
from tests.chat.conftest import MODEL, Connect
from tests.chat.scripted import Script, ScriptedGateway

User = get_user_model()


def text_of(messages: list[dict[str, Any]]) -> str:
    """The answer's text, put together by offset as a client does."""
    text = ""
    for message in messages:
        if message["type"] == "chat.delta":
            text = text[: message["offset"]] + message["text"]
    return text


@pytest.mark.slow
async def test_a_question_is_answered_in_pieces_with_usage_and_timing(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script.delay_s = 0.02
    line = await connect(user=alice)
    ready = await line.ready()
    assert ready["tenant"]["slug"] == "acme"
    assert [model["name"] for model in ready["models"]] == [MODEL]
    chat = await line.new_chat(system="Be brief.", params={"temperature": 0.5})
    await line.send("chat.send", chat=chat, content="What is Atrium?", client_id="q1")
    heard = await line.until("chat.completed")

    started, *deltas, completed = heard
    assert started["type"] == "chat.started"
    assert started["client_id"] == "q1"
    assert started["title"] == "What is Atrium?"
    assert started["request_id"] == gateway.sent[0].request_id
    assert text_of(deltas) == gateway.script.text
    assert [delta["seq"] for delta in deltas] == list(range(len(deltas)))
    assert len(deltas) > 1
    assert completed["usage"]["completion_tokens"] == len(gateway.script.text)
    assert completed["finish_reason"] == "stop"
    assert completed["timing"]["first_token_ms"] <= completed["timing"]["duration_ms"]
    assert completed["timing"]["tokens_per_s"] > 0
    body = gateway.sent[0].body
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is Atrium?"},
    ]
    assert (body["temperature"], body["stream_options"]) == (0.5, {"include_usage": True})


@pytest.mark.slow
async def test_the_model_reads_the_conversation_so_far(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    for number in range(2):
        await line.send("chat.send", chat=chat, content=f"question {number}", client_id=f"q{number}")
        await line.until("chat.completed")
    assert gateway.sent[1].body["messages"] == [
        {"role": "user", "content": "question 0"},
        {"role": "assistant", "content": gateway.script.text},
        {"role": "user", "content": "question 1"},
    ]


async def test_a_stopped_answer_keeps_its_text_and_frees_the_engine(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script.hold_after = 12
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Go on", client_id="q1")
    heard = await line.until("chat.delta")
    while len(text_of(heard)) < 12:
        heard.append(await line.hear())
    await line.send("chat.stop", chat=chat)
    stopped = await line.expect("chat.stopped")
    assert stopped["length"] == 12
    assert gateway.sent[0].closed_at is not None
    history = await line.ask_for("chat.history", "chat.history", chat=chat)
    assert [(message["state"], message["content"]) for message in history["messages"]] == [
        ("complete", "Go on"),
        ("stopped", gateway.script.text[:12]),
    ]


async def test_stopping_where_nothing_is_written_is_an_error(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    error = await line.ask_for("chat.stop", "error", chat=chat)
    assert error["code"] == "nothing_to_stop"


@pytest.mark.slow
async def test_an_answer_is_given_again_and_the_newest_is_shown(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Which?", client_id="q1")
    await line.until("chat.completed")
    gateway.script = Script(text="Another answer.")
    await line.send("chat.regenerate", chat=chat, client_id="r1")
    heard = await line.until("chat.completed")
    assert (heard[0]["attempts"], text_of(heard)) == (2, "Another answer.")
    assert gateway.sent[1].body["messages"] == [{"role": "user", "content": "Which?"}]
    history = await line.ask_for("chat.history", "chat.history", chat=chat)
    assert [message["content"] for message in history["messages"]] == ["Which?", "Another answer."]
    assert history["messages"][1]["attempts"] == 2


async def test_a_question_sent_twice_is_asked_once(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    for _ in range(2):
        await line.send("chat.send", chat=chat, content="Once", client_id="q1")
        heard = await line.until("chat.completed")
        assert text_of(heard) == gateway.script.text
    assert len(gateway.sent) == 1
    history = await line.ask_for("chat.history", "chat.history", chat=chat)
    assert len(history["messages"]) == 2


@pytest.mark.slow
async def test_a_second_question_waits_for_the_first_answer(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script.hold_after = 4
    first, second = await connect(user=alice), await connect(user=alice)
    await first.ready()
    await second.ready()
    chat = await first.new_chat()
    await first.send("chat.send", chat=chat, content="One", client_id="q1")
    await first.until("chat.delta")
    for line in (first, second):
        await line.send("chat.send", chat=chat, content="Two", client_id="q2")
        error = (await line.until("error"))[-1]
        assert (error["code"], error["client_id"]) == ("answer_running", "q2")
    gateway.script.release.set()
    await first.until("chat.completed")


@pytest.mark.slow
async def test_eight_chats_are_written_at_once_and_a_ninth_is_refused(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script.hold_after = 8
    line = await connect(user=alice)
    await line.ready()
    chats = [await line.new_chat() for _ in range(9)]
    for chat in chats:
        await line.send("chat.send", chat=chat, content="Hello", client_id="q1")
    texts: dict[str, list[dict[str, Any]]] = {chat: [] for chat in chats}
    completed, refused = set(), ""
    while len(completed) < 8:
        message = await line.hear()
        if message["type"] == "error":
            assert message["code"] == "too_many_chats"
            refused = message["chat"]
            gateway.script.release.set()
        else:
            texts[message["chat"]].append(message)
            if message["type"] == "chat.completed":
                completed.add(message["chat"])
    assert refused == chats[8]
    assert {text_of(texts[chat]) for chat in chats[:8]} == {gateway.script.text}


@pytest.mark.slow
async def test_a_refused_question_says_why_and_can_be_tried_again(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script.refusal = Rejected(503, "queue_full", "Too many are waiting.")
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Now?", client_id="q1")
    error = await line.expect("error")
    assert (error["code"], error["retryable"], error["chat"], error["client_id"]) == (
        "queue_full",
        True,
        chat,
        "q1",
    )
    history = await line.ask_for("chat.history", "chat.history", chat=chat)
    assert (history["messages"][1]["state"], history["messages"][1]["error_code"]) == ("failed", "queue_full")
    gateway.script.refusal = None
    await line.send("chat.regenerate", chat=chat, client_id="r1")
    assert text_of(await line.until("chat.completed")) == gateway.script.text


@pytest.mark.slow
async def test_an_engine_that_breaks_leaves_the_text_and_one_error(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script.fail_after = 20
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Try", client_id="q1")
    heard = await line.until("error")
    assert text_of(heard) == gateway.script.text[:20]
    assert (heard[-1]["code"], heard[-1]["request_id"]) == ("replica_lost", gateway.sent[0].request_id)
    gateway.script.fail_after = None
    await line.send("chat.resume", chat=chat, message=heard[0]["message"], received=20)
    heard += await line.until("chat.completed")
    assert text_of(heard) == gateway.script.text
    assert gateway.sent[1].resume_from == [[ord(letter) for letter in gateway.script.text[:20]]]


async def test_an_unknown_model_is_a_typed_error(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice)
    await line.ready()
    created = await line.ask_for("chat.create", "chat.created", model="no-such-model")
    chat = created["chat"]["chat"]
    error = await line.ask_for("chat.send", "error", chat=chat, content="Hi", client_id="q1")
    assert error["code"] == "model_not_found"


@pytest.mark.slow
async def test_chats_are_listed_renamed_and_deleted(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice)
    await line.ready()
    chats = [await line.new_chat(title=f"chat {number}") for number in range(5)]
    page = await line.ask_for("chat.list", "chat.list", limit=3)
    assert [view["chat"] for view in page["chats"]] == chats[:1:-1]
    rest = await line.ask_for("chat.list", "chat.list", limit=3, before=page["next"])
    assert ([view["chat"] for view in rest["chats"]], rest["next"]) == (chats[1::-1], "")
    updated = await line.ask_for("chat.update", "chat.updated", chat=chats[0], title="New name", system="S")
    assert (updated["chat"]["title"], updated["chat"]["system"], updated["chat"]["model"]) == (
        "New name",
        "S",
        MODEL,
    )
    await line.ask_for("chat.delete", "chat.deleted", chat=chats[0])
    error = await line.ask_for("chat.history", "error", chat=chats[0])
    assert error["code"] == "not_found"


@pytest.mark.slow
async def test_history_comes_in_pages(connect: Connect, alice: Any) -> None:
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    for number in range(3):
        await line.send("chat.send", chat=chat, content=f"question {number}", client_id=f"q{number}")
        await line.until("chat.completed")
    newest = await line.ask_for("chat.history", "chat.history", chat=chat, limit=4)
    assert ([message["ordinal"] for message in newest["messages"]], newest["has_more"]) == (
        [2, 3, 4, 5],
        True,
    )
    oldest = await line.ask_for("chat.history", "chat.history", chat=chat, limit=4, before=2)
    assert ([message["ordinal"] for message in oldest["messages"]], oldest["has_more"]) == ([0, 1], False)


@pytest.mark.slow
async def test_a_chat_of_somebody_else_is_as_absent_as_none(
    connect: Connect, alice: Any, bob: Any, charlie: Any
) -> None:
    hers = await connect(user=alice)
    await hers.ready()
    chat = await hers.new_chat()
    await hers.send("chat.send", chat=chat, content="Secret", client_id="q1")
    answer = (await hers.until("chat.completed"))[0]["message"]
    unknown = chat[:-4] + "0000"
    for stranger in (bob, charlie):
        line = await connect(user=stranger)
        await line.ready()
        for kind, fields in (
            ("chat.history", {}),
            ("chat.send", {"content": "Hi", "client_id": "x"}),
            ("chat.regenerate", {"client_id": "x"}),
            ("chat.resume", {"message": answer, "received": 0}),
            ("chat.update", {"title": "Mine"}),
            ("chat.delete", {}),
        ):
            theirs = await line.ask_for(kind, "error", chat=chat, **fields)
            nobodys = await line.ask_for(kind, "error", chat=unknown, **fields)
            assert theirs["code"] == nobodys["code"] == "not_found"
            assert theirs["message"] == nobodys["message"]
        listed = await line.ask_for("chat.list", "chat.list")
        assert listed["chats"] == []
    history = await hers.ask_for("chat.history", "chat.history", chat=chat)
    assert len(history["messages"]) == 2


@pytest.mark.slow
async def test_a_message_of_another_chat_cannot_be_resumed_through_ones_own(
    connect: Connect, alice: Any, bob: Any
) -> None:
    hers, his = await connect(user=alice), await connect(user=bob)
    await hers.ready()
    await his.ready()
    answers = []
    for line in (hers, his):
        chat = await line.new_chat()
        await line.send("chat.send", chat=chat, content="Same place in both", client_id="q1")
        answers.append((await line.until("chat.completed"))[0]["message"])
    error = await his.ask_for("chat.resume", "error", chat=chat, message=answers[0], received=0)
    assert error["code"] == "not_found"


async def test_a_key_and_its_maker_do_not_share_chats(connect: Connect, alice: Any, acme_key: str) -> None:
    program, person = await connect(key=acme_key, origin=None), await connect(user=alice)
    await program.ready()
    await person.ready()
    chat = await program.new_chat()
    error = await person.ask_for("chat.history", "error", chat=chat)
    assert error["code"] == "not_found"
    await program.send("chat.send", chat=chat, content="Hello", client_id="q1")
    await program.until("chat.completed")


async def test_nul_in_an_answer_is_kept_as_a_replacement(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script = Script(text="a\x00b")
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Hi", client_id="q1")
    assert text_of(await line.until("chat.completed")) == "a\ufffdb"


async def test_answers_come_while_a_reader_does_other_things(
    connect: Connect, alice: Any, gateway: ScriptedGateway
) -> None:
    gateway.script.hold_after = 4
    line = await connect(user=alice)
    await line.ready()
    chat = await line.new_chat()
    await line.send("chat.send", chat=chat, content="Hi", client_id="q1")
    await line.until("chat.delta")
    other = await line.new_chat()
    await line.ask_for("ping", "pong")
    assert other != chat
    gateway.script.release.set()
    await asyncio.wait_for(line.until("chat.completed"), 5)
