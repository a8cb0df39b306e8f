"""The only writers of chats.

All run inside the tenant's scope and for the chat's owner; others get NotFound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

import audit.services
from core import clock
from core.actors import Actor
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.scoping import current_tenant_id
from inference.chat import selectors
from inference.chat.models import TITLE_LENGTH, ChatMessage, ChatSession, MessageState, Role
from inference.chat.partials import Partial, furthest

UNFINISHED = (MessageState.STREAMING, MessageState.INTERRUPTED, MessageState.STOPPED, MessageState.FAILED)


class AnswerRunning(Conflict):
    """The chat's last answer is being written, or its writer died without a word; `answer` is its row."""

    code = "answer_running"

    def __init__(self, answer: ChatMessage) -> None:
        super().__init__("An answer in this chat is still being written. Stop it, or wait for its end.")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer to be written: where it belongs, what the model is asked, and what exists of it already."""

    session: ChatSession
    question: ChatMessage
    answer: ChatMessage
    body: dict[str, Any]
    partial: Partial = field(default_factory=Partial)

    @property
    def is_complete(self) -> bool:
        """True when there is nothing left to write."""
        return self.answer.state == MessageState.COMPLETE


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the writing of an answer ended, for the record."""

    state: MessageState
    text: str
    tokens: list[int]
    request_id: str = ""
    finish_reason: str = ""
    error_code: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)


@transaction.atomic
def create(
    *,
    actor: Actor,
    model: str,
    title: str = "",
    system_prompt: str = "",
    parameters: dict[str, Any] | None = None,
) -> ChatSession:
    """A new chat of the acting member or key. Whether they may call `model` is decided at every question."""
    owner = {"user_id": actor.id} if actor.kind == "person" else {"key_id": actor.id}
    session: ChatSession = ChatSession.objects.create(
        tenant_id=current_tenant_id(),
        **owner,
        title=title.strip(),
        model=model,
        system_prompt=system_prompt,
        parameters=parameters or {},
        active_at=clock.now(),
    )
    return session


@transaction.atomic
def update(*, actor: Actor, chat: str, **changes: Any) -> ChatSession:
    """Change title, model, system_prompt or parameters of a chat. Raises NotFound."""
    session = selectors.session(actor=actor, chat=chat, lock=True)
    for name, value in changes.items():
        setattr(session, name, value)
    session.save(update_fields=[*changes, "updated_at"])
    return session


@transaction.atomic
def delete(*, actor: Actor, chat: str) -> None:
    """Remove a chat and its messages for good. Raises NotFound."""
    session = selectors.session(actor=actor, chat=chat, lock=True)
    audit.services.record("inference.chat.deleted", actor=actor, target=session, tenant_id=session.tenant_id)
    session.delete()


@transaction.atomic
def ask(
    *,
    actor: Actor,
    chat: str,
    content: str,
    client_id: str,
    model: str = "",
    parameters: dict[str, Any] | None = None,
    versions: Mapping[str, UUID],
    writer: UUID,
) -> Turn:
    """Add a question and the empty answer to it. The same `client_id` again gives the first one's Turn.

    `versions` says which version stands behind each public name now; the answer remembers its own.

    Raises NotFound; AnswerRunning while the last answer is being written.
    """
    session = selectors.session(actor=actor, chat=chat, lock=True)
    asked = ChatMessage.objects.filter(session=session, client_id=client_id, role=Role.USER).first()
    if asked is not None:
        answer = (
            ChatMessage.objects.filter(session=session, ordinal=asked.ordinal + 1)
            .order_by("-attempt")
            .first()
        )
        if answer is None:
            raise NotFound("There is no such message in this chat.")
        return Turn(session, asked, answer, {}, Partial(answer.content, answer.token_ids))
    last = selectors.shown(session=session).first()
    _refuse_while_running(last)
    place = 0 if last is None else last.ordinal + 1
    question = _add(session, place, Role.USER, content=content, client_id=client_id)
    _touch(session, model, parameters, title=session.title or _title(content))
    answer = _add(session, place + 1, Role.ASSISTANT, versions=versions, writer=writer)
    return Turn(session, question, answer, _body(session, answer))


@transaction.atomic
def ask_again(
    *,
    actor: Actor,
    chat: str,
    client_id: str,
    model: str = "",
    parameters: dict[str, Any] | None = None,
    versions: Mapping[str, UUID],
    writer: UUID,
) -> Turn:
    """A further answer to the last question; the earlier ones are kept. Same `client_id`: the same Turn.

    Raises NotFound (also in a chat without a question); AnswerRunning.
    """
    session = selectors.session(actor=actor, chat=chat, lock=True)
    last = selectors.last_answer(session=session)
    if last is None:
        raise NotFound("There is no question in this chat yet.")
    question = ChatMessage.objects.get(session=session, ordinal=last.ordinal - 1)
    if last.client_id == client_id:
        return Turn(session, question, last, {}, Partial(last.content, last.token_ids))
    _refuse_while_running(last)
    _touch(session, model, parameters)
    answer = _add(
        session,
        last.ordinal,
        Role.ASSISTANT,
        attempt=last.attempt + 1,
        versions=versions,
        writer=writer,
        client_id=client_id,
    )
    return Turn(session, question, answer, _body(session, answer))


@transaction.atomic
def reopen(*, actor: Actor, chat: str, message: str, found: Partial, writer: UUID) -> Turn:
    """Go on with an unfinished answer as its only writer. `found` is what Valkey had of it; the longer text
    counts.

    A complete answer comes back as it is. Raises NotFound; Conflict for an answer that is not the chat's
    last.
    """
    session = selectors.session(actor=actor, chat=chat, lock=True)
    answer = selectors.message(session=session, message=message)
    last = selectors.last_answer(session=session)
    question = ChatMessage.objects.filter(session=session, ordinal=answer.ordinal - 1).first()
    if question is None or answer.role != Role.ASSISTANT:
        raise NotFound("There is no such answer in this chat.")
    kept = Partial(answer.content, answer.token_ids)
    if answer.state == MessageState.COMPLETE:
        return Turn(session, question, answer, {}, kept)
    if last is None or last.pk != answer.pk:
        raise Conflict("Only the last answer of a chat can be continued.", code="not_last_answer")
    partial = furthest(found, kept)
    answer.state = MessageState.STREAMING
    answer.writer = writer
    answer.error_code = ""
    answer.save(update_fields=["state", "writer", "error_code", "updated_at"])
    return Turn(session, question, answer, _body(session, answer), partial)


@transaction.atomic
def close(*, message_id: UUID, writer: UUID, outcome: Outcome) -> bool:
    """Take an answer over from Valkey into the database.

    False, and nothing written, when another writer has it.
    """
    complete = outcome.state == MessageState.COMPLETE
    changed = ChatMessage.objects.filter(pk=message_id, writer=writer).update(
        state=outcome.state,
        content=outcome.text,
        token_ids=[] if complete else outcome.tokens,
        request_id=outcome.request_id,
        finish_reason=outcome.finish_reason,
        error_code=outcome.error_code,
        usage=outcome.usage,
        timing=outcome.timing,
        updated_at=clock.now(),
    )
    return bool(changed)


@transaction.atomic
def recover(*, message_id: UUID, partial: Partial) -> bool:
    """Mark an answer whose writer died as interrupted, with the text that it left in Valkey, if that goes further
    than what the database has of it: a writer may die before it has written anything.

    `writer` stays: should it live after all, its own `close` still counts.
    """
    streaming = ChatMessage.objects.filter(pk=message_id, state=MessageState.STREAMING)
    answer = streaming.select_for_update().first()
    if answer is None:
        return False
    left = furthest(partial, Partial(answer.content, answer.token_ids))
    streaming.update(
        state=MessageState.INTERRUPTED, content=left.text, token_ids=left.tokens, updated_at=clock.now()
    )
    return True


def _refuse_while_running(last: ChatMessage | None) -> None:
    if last is not None and last.state == MessageState.STREAMING:
        raise AnswerRunning(last)


def _add(
    session: ChatSession,
    ordinal: int,
    role: Role,
    *,
    versions: Mapping[str, UUID] | None = None,
    **fields: Any,
) -> ChatMessage:
    if role == Role.ASSISTANT:
        fields |= {
            "state": MessageState.STREAMING,
            "model": session.model,
            "version_id": (versions or {}).get(session.model),
        }
    message: ChatMessage = ChatMessage.objects.create(
        id=new_id(), tenant_id=session.tenant_id, session=session, ordinal=ordinal, role=role, **fields
    )
    return message


def _touch(session: ChatSession, model: str, parameters: dict[str, Any] | None, *, title: str = "") -> None:
    session.active_at = clock.now()
    session.model = model or session.model
    session.title = title or session.title
    if parameters is not None:
        session.parameters = parameters
    session.save()


def _title(content: str) -> str:
    line = " ".join(content.split())
    return line if len(line) <= TITLE_LENGTH else f"{line[: TITLE_LENGTH - 1].rstrip()}…"


def _body(session: ChatSession, answer: ChatMessage) -> dict[str, Any]:
    return {
        **session.parameters,
        "model": answer.model,
        "messages": selectors.conversation(session=session, before=answer.ordinal),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
