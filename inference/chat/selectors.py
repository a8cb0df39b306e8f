"""Reads of chats. A caller sees their own only; another's chat is as absent as one that never was (L17)."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from core.actors import Actor
from core.errors import InvalidInput, NotFound
from core.ids import parse_public_id
from inference.chat.models import ChatMessage, ChatSession, Role

# Of one conversation that is sent to a model. What the model itself can read is for the gateway to say.
CONTEXT_MESSAGES = 400


def sessions_of(*, actor: Actor) -> QuerySet[ChatSession]:
    """The chats of the acting member or key in the active tenant; none for anybody else."""
    if actor.id is None or actor.kind not in ("person", "key"):
        return ChatSession.objects.none()
    owner = {"user_id": actor.id} if actor.kind == "person" else {"key_id": actor.id}
    found: QuerySet[ChatSession] = ChatSession.objects.filter(**owner)
    return found


def page_of_sessions(*, actor: Actor, limit: int, before: str = "") -> tuple[list[ChatSession], str]:
    """Up to `limit` chats, the last used first, and the cursor of the next page ("" on the last). One query.

    Raises InvalidInput for a cursor that no page gave.
    """
    sessions = sessions_of(actor=actor).order_by("-active_at", "-id")
    if before:
        last = sessions.filter(pk=_id(before, ChatSession, InvalidInput)).values("active_at", "id").first()
        if last is None:
            raise InvalidInput("This page is gone; begin again at the first one.", field="before")
        sessions = sessions.extra(
            where=["(active_at, id) < (%s, %s)"], params=[last["active_at"], last["id"]]
        )
    page = list(sessions[: limit + 1])
    return page[:limit], page[limit - 1].public_id if len(page) > limit else ""


def session(*, actor: Actor, chat: str, lock: bool = False) -> ChatSession:
    """One own chat by its public id.

    Raises NotFound. With `lock` nobody else writes to it in this transaction.
    """
    sessions = sessions_of(actor=actor)
    if lock:
        sessions = sessions.select_for_update(of=("self",))
    found = sessions.filter(pk=_id(chat, ChatSession)).first()
    if found is None:
        raise NotFound("There is no such chat.")
    return found


def message(*, session: ChatSession, message: str) -> ChatMessage:
    """One message of a chat by its public id. Raises NotFound."""
    found = ChatMessage.objects.filter(session=session, pk=_id(message, ChatMessage)).first()
    if found is None:
        raise NotFound("There is no such message in this chat.")
    return found


def shown(*, session: ChatSession) -> QuerySet[ChatMessage]:
    """The conversation as it is shown, newest first: of several answers to one question, the last."""
    found: QuerySet[ChatMessage] = (
        ChatMessage.objects.filter(session=session).order_by("-ordinal", "-attempt").distinct("ordinal")
    )
    return found


def page_of_messages(
    *, session: ChatSession, limit: int, before: int | None = None
) -> tuple[list[ChatMessage], bool]:
    """Up to `limit` messages before position `before`, oldest first, and whether there are older ones."""
    messages = shown(session=session)
    if before is not None:
        messages = messages.filter(ordinal__lt=before)
    page = list(messages.defer("token_ids")[: limit + 1])
    return page[:limit][::-1], len(page) > limit


def last_answer(*, session: ChatSession) -> ChatMessage | None:
    """The answer at the end of a chat; none in a chat without messages."""
    return shown(session=session).filter(role=Role.ASSISTANT).first()


def conversation(*, session: ChatSession, before: int) -> list[dict[str, str]]:
    """The messages before position `before` as a model reads them, the system prompt first.

    Answers without text are left out, and questions that then follow each other are joined: chat templates of
    many models refuse two turns of one speaker in a row.
    """
    messages = shown(session=session).filter(ordinal__lt=before)
    rows = list(messages.values_list("role", "content")[:CONTEXT_MESSAGES])
    turns: list[dict[str, str]] = []
    if session.system_prompt:
        turns.append({"role": "system", "content": session.system_prompt})
    for role, content in reversed(rows):
        if not content:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{content}"
        else:
            turns.append({"role": role, "content": content})
    return turns


def _id(text: str, model: type[Any], refusal: type[NotFound] | type[InvalidInput] = NotFound) -> Any:
    try:
        return parse_public_id(text, model.id_prefix)
    except ValueError as error:
        raise refusal("There is no such object.") from error
