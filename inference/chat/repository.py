"""Chats for code on an event loop: every function enters the tenant's scope itself, in a thread of its own.

What comes back holds no lazy reference: a row's relations are loaded or never touched. Threads are not shared
with Django's requests (`thread_sensitive=False`), so that a slow query of one chat keeps nobody else waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from channels.db import database_sync_to_async

from core.actors import Actor
from core.scoping import tenant_scope
from inference.chat import selectors, services
from inference.chat.models import ChatMessage, ChatSession, MessageState
from inference.chat.partials import Partial, PartialStore
from inference.chat.protocol import ChatView, HistoryPage, Listed, MessageView
from inference.chat.services import Outcome, Turn

HISTORY_CHARACTERS = 1_000_000  # of one answer to chat.history; what is older comes with the next page

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Party:
    """Whose chats are meant: the acting member or key, in one tenant."""

    tenant_id: UUID
    actor: Actor


def in_scope(function: Callable[Concatenate[Party, P], R]) -> Callable[Concatenate[Party, P], Any]:
    """Run a blocking function in a thread, inside the party's tenant scope (one transaction)."""

    @wraps(function)
    def scoped(party: Party, *args: P.args, **kwargs: P.kwargs) -> R:
        with tenant_scope(party.tenant_id):
            return function(party, *args, **kwargs)

    return database_sync_to_async(scoped, thread_sensitive=False)


@in_scope
def create(party: Party, **fields: Any) -> ChatView:
    """Begin a chat."""
    return chat_view(services.create(actor=party.actor, **fields))


@in_scope
def update(party: Party, chat: str, **changes: Any) -> ChatView:
    """Change a chat. Raises NotFound."""
    return chat_view(services.update(actor=party.actor, chat=chat, **changes))


@in_scope
def delete(party: Party, chat: str) -> None:
    """Remove a chat. Raises NotFound."""
    services.delete(actor=party.actor, chat=chat)


@in_scope
def page(party: Party, limit: int, before: str) -> Listed:
    """A page of the party's chats. Raises InvalidInput."""
    sessions, cursor = selectors.page_of_sessions(actor=party.actor, limit=limit, before=before)
    return Listed(chats=[chat_view(session) for session in sessions], next=cursor)


@in_scope
def ask(party: Party, **arguments: Any) -> Turn:
    """A question and its empty answer. Raises NotFound, AnswerRunning."""
    return services.ask(actor=party.actor, **arguments)


@in_scope
def ask_again(party: Party, **arguments: Any) -> Turn:
    """A further answer to the last question. Raises NotFound, AnswerRunning."""
    return services.ask_again(actor=party.actor, **arguments)


@in_scope
def reopen(party: Party, **arguments: Any) -> Turn:
    """An unfinished answer, to go on with. Raises NotFound, Conflict."""
    return services.reopen(actor=party.actor, **arguments)


@in_scope
def answer_id(party: Party, chat: str, message: str) -> UUID:
    """The inner id of an own message. Raises NotFound."""
    session = selectors.session(actor=party.actor, chat=chat)
    return selectors.message(session=session, message=message).id


@in_scope
def close(party: Party, message_id: UUID, writer: UUID, outcome: Outcome) -> bool:
    """Put an ended answer into the database. False when another writer has it."""
    return services.close(message_id=message_id, writer=writer, outcome=outcome)


@in_scope
def recover(party: Party, message_id: UUID, partial: Partial) -> bool:
    """Mark an answer whose writer died as interrupted."""
    return services.recover(message_id=message_id, partial=partial)


@in_scope
def _history(
    party: Party, chat: str, limit: int, before: int | None
) -> tuple[ChatSession, list[ChatMessage], bool]:
    session = selectors.session(actor=party.actor, chat=chat)
    messages, has_more = selectors.page_of_messages(session=session, limit=limit, before=before)
    return session, messages, has_more


async def history(
    party: Party, store: PartialStore, chat: str, limit: int, before: int | None
) -> HistoryPage:
    """Messages of a chat, with what Valkey has of an answer that is being written. Raises NotFound.

    An answer whose writer has died is taken over from Valkey on the way and shown as interrupted.
    """
    session, messages, has_more = await _history(party, chat, limit, before)
    for message in messages:
        if message.state == MessageState.STREAMING:
            partial, alive = await store.read(party.tenant_id, message.id)
            message.content = partial.text or message.content
            if not alive:
                await recover(party, message.id, partial)
                message.state = MessageState.INTERRUPTED
    kept = _within(messages, HISTORY_CHARACTERS)
    return HistoryPage(
        chat=chat_view(session),
        messages=[message_view(message) for message in kept],
        has_more=has_more or len(kept) < len(messages),
    )


def _within(messages: list[ChatMessage], characters: int) -> list[ChatMessage]:
    """The newest messages (at least one) that together stay within a number of characters."""
    for count, message in enumerate(reversed(messages)):
        characters -= len(message.content)
        if characters < 0 and count:
            return messages[-count:]
    return messages


def chat_view(session: ChatSession) -> ChatView:
    """A chat as clients see it."""
    return ChatView(
        chat=session.public_id,
        title=session.title,
        model=session.model,
        system=session.system_prompt,
        params=session.parameters,
        active_at=session.active_at.isoformat(),
    )


def message_view(message: ChatMessage) -> MessageView:
    """A message as clients see it."""
    return MessageView(
        message=message.public_id,
        ordinal=message.ordinal,
        role=message.role,
        content=message.content,
        state=message.state,
        created_at=message.created_at.isoformat(),
        model=message.model,
        attempts=message.attempt + 1,
        request_id=message.request_id,
        finish_reason=message.finish_reason,
        usage=message.usage,
        timing=message.timing,
        error_code=message.error_code,
    )
