"""The writers of chats: who may, what is fenced, what a model reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction

from audit.models import AuditEvent
from core.actors import Actor, system
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import new_id
from core.scoping import ScopeError, tenant_scope
from inference.chat import selectors, services
from inference.chat.models import ChatMessage, ChatSession, MessageState
from inference.chat.partials import Partial
from inference.chat.services import AnswerRunning, Outcome, Turn
from tenants.models import Tenant
from tests.factories.inference import ChatMessageFactory, ChatSessionFactory

VERSIONS = {"chatter": UUID(int=7)}


@pytest.fixture
def actor(alice: Any, actor_of: Callable[..., Actor]) -> Actor:
    """Alice."""
    return actor_of(alice, "owner")


@pytest.fixture
def session(acme: Tenant, actor: Actor) -> Iterator[ChatSession]:
    """A chat of Alice's, inside her tenant's scope."""
    with tenant_scope(acme.pk):
        yield services.create(actor=actor, model="chatter", system_prompt="Be brief.")


def ask(actor: Actor, session: ChatSession, text: str = "Why?", writer: UUID | None = None) -> Turn:
    """A question with a name of its own."""
    return services.ask(
        actor=actor,
        chat=session.public_id,
        content=text,
        client_id=new_id().hex,
        versions=VERSIONS,
        writer=writer or new_id(),
    )


def outcome(text: str, state: str = "complete", **more: Any) -> Outcome:
    """An ending."""
    return Outcome(state=MessageState(state), text=text, tokens=[1, 2], **more)


def test_a_question_brings_its_empty_answer_and_the_chats_title(actor: Actor, session: ChatSession) -> None:
    turn = ask(actor, session, "  Why is\n the sky blue?  ")
    assert (turn.session.title, turn.answer.state, turn.answer.version_id) == (
        "Why is the sky blue?",
        "streaming",
        UUID(int=7),
    )
    assert turn.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert len(ask_title(actor, session)) <= 120


def ask_title(actor: Actor, session: ChatSession) -> str:
    """The title that a very long question gives a new chat."""
    fresh = services.create(actor=actor, model="chatter")
    return ask(actor, fresh, "word " * 500).session.title


def test_a_writer_that_was_replaced_cannot_write_any_more(actor: Actor, session: ChatSession) -> None:
    old, new = new_id(), new_id()
    turn = ask(actor, session, writer=old)
    services.reopen(
        actor=actor,
        chat=session.public_id,
        message=turn.answer.public_id,
        found=Partial("Be", [1]),
        writer=new,
    )
    assert not services.close(message_id=turn.answer.pk, writer=old, outcome=outcome("stale"))
    assert services.close(message_id=turn.answer.pk, writer=new, outcome=outcome("Because."))
    row = ChatMessage.objects.get(pk=turn.answer.pk)
    assert (row.content, row.state, row.token_ids) == ("Because.", "complete", [])


def test_a_writer_that_was_taken_for_dead_may_still_end_its_answer(
    actor: Actor, session: ChatSession
) -> None:
    writer = new_id()
    turn = ask(actor, session, writer=writer)
    assert services.recover(message_id=turn.answer.pk, partial=Partial("Half", [1]))
    assert ChatMessage.objects.get(pk=turn.answer.pk).state == "interrupted"
    assert services.close(message_id=turn.answer.pk, writer=writer, outcome=outcome("Half and whole."))


def test_a_writer_that_died_before_it_wrote_leaves_what_the_database_had(
    actor: Actor, session: ChatSession
) -> None:
    writer = new_id()
    turn = ask(actor, session, writer=writer)
    assert services.close(message_id=turn.answer.pk, writer=writer, outcome=outcome("ab", "interrupted"))
    again = services.reopen(
        actor=actor,
        chat=session.public_id,
        message=turn.answer.public_id,
        found=Partial(next_batch=2),
        writer=new_id(),
    )
    assert again.partial.text == "ab"
    assert services.recover(message_id=turn.answer.pk, partial=Partial())
    turn.answer.refresh_from_db()
    assert (turn.answer.content, turn.answer.token_ids) == ("ab", [1, 2])
    assert turn.answer.state == "interrupted"


def test_only_a_streaming_answer_is_recovered(actor: Actor, session: ChatSession) -> None:
    writer = new_id()
    turn = ask(actor, session, writer=writer)
    services.close(message_id=turn.answer.pk, writer=writer, outcome=outcome("Whole."))
    assert not services.recover(message_id=turn.answer.pk, partial=Partial("old", [1]))
    assert ChatMessage.objects.get(pk=turn.answer.pk).content == "Whole."


def test_a_chat_with_a_running_answer_takes_no_question(actor: Actor, session: ChatSession) -> None:
    ask(actor, session)
    with pytest.raises(AnswerRunning):
        ask(actor, session)
    with pytest.raises(AnswerRunning):
        services.ask_again(
            actor=actor, chat=session.public_id, client_id="r", versions=VERSIONS, writer=new_id()
        )


def test_only_the_last_answer_can_be_continued(actor: Actor, session: ChatSession) -> None:
    writer = new_id()
    first = ask(actor, session, writer=writer)
    services.close(message_id=first.answer.pk, writer=writer, outcome=outcome("Cut", "stopped"))
    ask(actor, session)
    with pytest.raises(Conflict):
        services.reopen(
            actor=actor,
            chat=session.public_id,
            message=first.answer.public_id,
            found=Partial(),
            writer=new_id(),
        )


def test_the_longer_of_two_records_of_a_partial_answer_counts(actor: Actor, session: ChatSession) -> None:
    writer = new_id()
    turn = ask(actor, session, writer=writer)
    services.close(message_id=turn.answer.pk, writer=writer, outcome=outcome("ab", "interrupted"))
    again = services.reopen(
        actor=actor,
        chat=session.public_id,
        message=turn.answer.public_id,
        found=Partial("a", [1], next_batch=5),
        writer=new_id(),
    )
    assert again.partial == Partial("ab", [1, 2], is_stored=False)


def test_questions_in_a_row_are_joined_and_empty_answers_left_out(actor: Actor, session: ChatSession) -> None:
    writer = new_id()
    turn = ask(actor, session, "One?", writer=writer)
    services.close(message_id=turn.answer.pk, writer=writer, outcome=outcome("", "failed", error_code="x"))
    body = ask(actor, session, "Two?").body
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?\n\nTwo?"},
    ]


def test_a_title_or_prompt_never_reaches_the_audit_trail(actor: Actor, session: ChatSession) -> None:
    ask(actor, session, "A very private question")
    services.delete(actor=actor, chat=session.public_id)
    event = AuditEvent.objects.get(action="inference.chat.deleted")
    assert "private" not in f"{event.target_label}{event.before}{event.after}{event.reason}"
    assert event.target_id == session.public_id


def test_nobody_else_finds_a_chat(
    actor: Actor, session: ChatSession, bob: Any, actor_of: Callable[..., Actor]
) -> None:
    key = Actor(kind="key", label="k", id=new_id())
    for stranger in (actor_of(bob, "admin"), key, system("tests"), Actor(kind="person", label="nobody")):
        with pytest.raises(NotFound):
            selectors.session(actor=stranger, chat=session.public_id)
        assert selectors.page_of_sessions(actor=stranger, limit=10) == ([], "")


def test_another_tenants_chat_is_not_found_by_the_same_person(
    acme: Tenant, globex: Tenant, alice: Any, actor: Actor
) -> None:
    there = ChatSessionFactory(tenant=globex, user=alice)
    with tenant_scope(acme.pk), pytest.raises(NotFound):
        selectors.session(actor=actor, chat=there.public_id)


@pytest.mark.parametrize("text", ["", "chat_", "msg_01k9", "chat_!!", "chat_" + "z" * 26])
def test_ids_that_are_none_are_not_found(acme: Tenant, actor: Actor, text: str) -> None:
    with tenant_scope(acme.pk), pytest.raises(NotFound):
        selectors.session(actor=actor, chat=text)


def test_a_cursor_of_ones_own_making_is_refused(acme: Tenant, actor: Actor) -> None:
    with tenant_scope(acme.pk), pytest.raises(InvalidInput):
        selectors.page_of_sessions(actor=actor, limit=10, before="chat_00000000000000000000000000")


def test_a_message_cannot_point_into_another_tenant(acme: Tenant, globex: Tenant) -> None:
    theirs = ChatSessionFactory(tenant=globex)
    with tenant_scope(acme.pk), pytest.raises(ScopeError):
        ChatMessage.objects.create(tenant=acme, session=theirs, ordinal=0, role="user")


def test_a_chat_has_exactly_one_owner(acme: Tenant, alice: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ChatSessionFactory(tenant=acme, user=None)


def test_places_in_a_chat_are_taken_once(acme: Tenant) -> None:
    message = ChatMessageFactory(tenant=acme)
    with pytest.raises(IntegrityError), transaction.atomic():
        ChatMessageFactory(tenant=acme, session=message.session, ordinal=message.ordinal)


def test_a_page_of_history_costs_one_query(
    actor: Actor, session: ChatSession, django_assert_num_queries: Any
) -> None:
    for number in range(6):
        ChatMessageFactory(tenant=session.tenant, session=session, ordinal=number)
    with django_assert_num_queries(1):
        page, has_more = selectors.page_of_messages(session=session, limit=4)
    assert ([message.ordinal for message in page], has_more) == ([2, 3, 4, 5], True)
