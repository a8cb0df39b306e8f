"""The websocket at /ws/chat/: parses, asks who it is, hands over, answers. What a message means: protocol.py.

The loop that receives never waits for a database or an engine, so that a closed connection is noticed at once
(L4): reads and writes of chats run one after another in `_work`, and every answer in a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_plus

import msgspec
import structlog
from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.conf import settings
from django.db import Error as DatabaseError
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from msgspec import UNSET
from redis.exceptions import RedisError

from core.errors import DomainError
from core.ids import public_id
from inference.call_logs.recorder import Origin, origin_of
from inference.chat import repository
from inference.chat.answering import Answering, Desk
from inference.chat.authority import Authority, KeyAuthority, SessionAuthority, party_of, signed_in
from inference.chat.pace import Pace
from inference.chat.partials import store
from inference.chat.protocol import (
    KEY_PREFIX,
    MESSAGE_BYTES,
    SUBPROTOCOL,
    Auth,
    ChatView,
    Create,
    Created,
    Delete,
    Deleted,
    Error,
    History,
    Incoming,
    ListChats,
    ModelView,
    Parameters,
    Ping,
    Pong,
    Ready,
    Regenerate,
    Resume,
    Send,
    Stop,
    TenantView,
    ToClient,
    Update,
    Updated,
    decode,
    encode,
)
from inference.chat.repository import Party
from inference.chat.transcript import End
from inference.gateway import Caller, Gateway, Rejected, gateway

log = structlog.get_logger(__name__)

AUTH_TIMEOUT_S = 5.0
CHATS_AT_ONCE = 8
WAITING_MESSAGES = 32
# A person needs a message now and then; a program with eight chats a few a second.
BURST, PER_S = 40, 10.0
REFUSALS_BEFORE_CLOSE = 50
# How often an open connection looks whether it still may be open; the look is one in memory.
WATCH_S = 0.5
CONFIRM_EVERY = 20  # of these looks, one asks for the session too
WIND_UP_S = 20.0

# Close codes; the last is the protocol's own "try again later".
BAD_REQUEST, UNAUTHENTICATED, FORBIDDEN, TOO_MANY, AWAY = 4400, 4401, 4403, 4429, 1013

Sentence = str | Promise

_UNAVAILABLE = gettext_lazy("The platform cannot answer right now. Try again shortly.")
_TOO_FAST = gettext_lazy("Too many messages at once. Send them more slowly.")


class ChatConsumer(AsyncConsumer):
    """One connection."""

    channel_layer_alias = ""  # tokens never travel through a channel layer (L2)

    def __init__(self, gateway_of_loop: Callable[[], Gateway] = gateway) -> None:
        self._gateway_of_loop = gateway_of_loop
        self._party: Party | None = None
        self._entering = False
        self._closed = False
        self._dropped = False
        self._serving: asyncio.Task[Any] | None = None
        self._answers: dict[str, Answering] = {}
        self._answering: set[asyncio.Task[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting: asyncio.Queue[Incoming] = asyncio.Queue(WAITING_MESSAGES)
        self._pace = Pace(burst=BURST, per_s=PER_S)
        self._refusals = 0

    async def dispatch(self, message: dict[str, Any]) -> None:
        """As Channels', without its thread hop per message: no database connection is used on this thread."""
        handler = getattr(self, message["type"].replace(".", "_"))
        await handler(message)

    # --- Events of the connection ---------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the connection; when it is over, for whatever reason, stop what it started."""
        self._serving = asyncio.current_task()
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            if not self._dropped:
                raise
        finally:
            await self._wind_up()

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Accept, then say why not if not: a refused handshake could not carry a typed error."""
        self._speak_language()
        self._gateway = self._gateway_of_loop()
        self._address = (self.scope.get("client") or ("", 0))[0]
        offered = self.scope.get("subprotocols") or []
        # SECURITY: a key among the subprotocols is never echoed; only our own name is ever selected.
        chosen = SUBPROTOCOL if SUBPROTOCOL in offered else None
        await self.send({"type": "websocket.accept", "subprotocol": chosen})
        if is_key_inside(self.scope.get("query_string", b"")):
            await self._refuse(
                BAD_REQUEST,
                "key_in_query",
                _(
                    "Keys do not belong into addresses, where logs keep them. Revoke this one, and send its"
                    " successor as a subprotocol or in the first message."
                ),
            )
            return
        key = next((name[len(KEY_PREFIX) :] for name in offered if name.startswith(KEY_PREFIX)), None)
        self._start(self._enter(key))

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Check pace, size and form; act on what must not wait, queue the rest."""
        if self._closed:
            return
        if not self._pace.take():
            await self._refuse_pace()
            return
        text = message.get("text") or ""
        if len(text) > MESSAGE_BYTES or len(text.encode()) > MESSAGE_BYTES:
            limit = {"count": MESSAGE_BYTES}
            await self._error("message_too_large", _("A message may have at most %(count)d bytes.") % limit)
            return
        try:
            incoming = decode(text)
        except msgspec.DecodeError as error:
            await self._error_of_form(str(error))
            return
        if isinstance(incoming, Ping):
            await self._deliver(Pong())
        elif isinstance(incoming, Auth):
            self._authenticate(incoming)
        elif self._party is None:
            await self._error("not_authenticated", _("Authenticate first."))
        elif isinstance(incoming, Stop):
            await self._stop(incoming)
        else:
            await self._queue(incoming)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """The client is gone: stop the engines, keep what they produced."""
        self._closed = True
        await self._wind_up()
        raise StopConsumer

    # --- Who it is ------------------------------------------------------------------------------------------

    async def _enter(self, key: str | None) -> None:
        authority: Authority | None = KeyAuthority(self._gateway, key, self._address) if key else None
        if authority is None:
            authority = await self._authority_of_session()
        if authority is not None:
            await self._admit(authority)
            return
        await asyncio.sleep(AUTH_TIMEOUT_S)
        if not self._entering:
            await self._refuse(UNAUTHENTICATED, "auth_timeout", _("No credential was sent in time."))

    async def _authority_of_session(self) -> Authority | None:
        session_key = self.scope.get("cookies", {}).get(settings.SESSION_COOKIE_NAME)
        # SECURITY: every browser sends its page's origin. Without one, a cookie says nothing about who wrote
        # the page.
        if not session_key or not self.scope.get("origin_checked"):
            return None
        person = await signed_in(session_key)
        if person is None or person.tenant_id is None:
            return None
        return SessionAuthority(self._gateway, session_key, person.user_id, person.tenant_id, self._address)

    def _authenticate(self, auth: Auth) -> None:
        self._start(self._admit(KeyAuthority(self._gateway, auth.api_key, self._address)))

    async def _admit(self, authority: Authority) -> None:
        if self._entering:
            await self._error("already_authenticated", _("This connection is authenticated already."))
            return
        self._entering = True
        try:
            caller = await authority.caller()
        except Rejected as error:
            close = {401: UNAUTHENTICATED, 403: FORBIDDEN}.get(error.status, AWAY)
            await self._refuse(close, error.code, error.message, retryable=error.retryable)
            return
        except (RedisError, DatabaseError, OSError):
            log.warning("chat.entry_unavailable", exc_info=True)
            await self._refuse(AWAY, "unavailable", _UNAVAILABLE, retryable=True)
            return
        self._party = party_of(caller)
        await self._deliver(_ready(caller))
        self._start(self._work(authority, self._party))
        self._start(self._watch(authority))

    async def _watch(self, authority: Authority) -> None:
        """Look again and again whether the connection may stay: a revocation must end it within 1 s."""
        looks = 0
        while not self._closed:
            await asyncio.sleep(WATCH_S)
            looks += 1
            try:
                if looks % CONFIRM_EVERY == 0:
                    await authority.confirm()
                await authority.caller()
            except Rejected as error:
                await self._expel(error)
            except (RedisError, DatabaseError, OSError):
                log.warning("chat.watch_unavailable", exc_info=True)

    # --- What it asks for -----------------------------------------------------------------------------------

    async def _queue(self, incoming: Incoming) -> None:
        try:
            self._waiting.put_nowait(incoming)
        except asyncio.QueueFull:
            await self._error("rate_limited", _TOO_FAST, retryable=True, about=incoming)

    async def _work(self, authority: Authority, party: Party) -> None:
        while not self._closed:
            incoming = await self._waiting.get()
            try:
                await authority.confirm()
                await self._handle(incoming, await authority.caller(), party)
            except Rejected as error:
                await self._reject(error, incoming)
            except DomainError as error:
                await self._error(error.code, error.message, param=error.field or "", about=incoming)
            except (RedisError, DatabaseError, OSError):
                log.warning("chat.request_unavailable", exc_info=True)
                await self._error("unavailable", _UNAVAILABLE, retryable=True, about=incoming)
            except Exception:
                log.exception("chat.request_failed")
                await self._error("internal_error", _("Something went wrong. Try again."), about=incoming)

    async def _handle(self, incoming: Incoming, caller: Caller, party: Party) -> None:
        match incoming:
            case Send() | Regenerate() | Resume():
                await self._answer(incoming, caller, party)
            case Create():
                await self._deliver(
                    Created(chat=await _create(party, incoming), client_id=incoming.client_id)
                )
            case Update():
                await self._deliver(Updated(chat=await _update(party, incoming)))
            case Delete():
                await self._forget(incoming, party)
            case ListChats():
                await self._deliver(await repository.page(party, incoming.limit, incoming.before))
            case History():
                page = repository.history(party, store(), incoming.chat, incoming.limit, incoming.before)
                await self._deliver(await page)

    async def _answer(self, question: Send | Regenerate | Resume, caller: Caller, party: Party) -> None:
        if question.chat in self._answers:
            raise Rejected(409, "answer_running", _("An answer in this chat is being written already."))
        if len(self._answers) >= CHATS_AT_ONCE:
            limit = {"count": CHATS_AT_ONCE}
            raise Rejected(
                429,
                "too_many_chats",
                _("At most %(count)d answers are written at once over one connection.") % limit,
            )
        desk = Desk(self._gateway, store(), self._deliver, self._origin)
        answering = self._answers[question.chat] = Answering(desk, party, caller, question)
        self._start(self._see_through(answering), self._answering)

    def _origin(self) -> Origin:
        """Where this connection's questions come from, for the call log."""
        return origin_of(dict(self.scope.get("headers") or []), address=self._address)

    async def _see_through(self, answering: Answering) -> None:
        try:
            closing = await answering.run()
        finally:
            # Before the client hears of the end: its next question must not find the chat still taken.
            del self._answers[answering.chat]
        if closing is not None:
            await self._deliver(closing)
        if answering.lost_authority is not None:
            await self._expel(answering.lost_authority)

    async def _stop(self, stop: Stop) -> None:
        answering = self._answers.get(stop.chat)
        if answering is None:
            await self._error("nothing_to_stop", _("No answer is being written in this chat."), about=stop)
        else:
            answering.end(End.STOPPED)

    async def _forget(self, incoming: Delete, party: Party) -> None:
        if incoming.chat in self._answers:
            self._answers[incoming.chat].end(End.INTERRUPTED)
        await repository.delete(party, incoming.chat)
        await self._deliver(Deleted(chat=incoming.chat))

    # --- What it hears --------------------------------------------------------------------------------------

    async def _deliver(self, message: ToClient) -> None:
        """Send, unless the client is gone. One that does not read for too long is taken for gone."""
        if self._closed:
            return
        try:
            async with asyncio.timeout(settings.SLOW_READER_TIMEOUT_S):
                await self.send({"type": "websocket.send", "text": encode(message)})
        except TimeoutError:
            log.info("chat.slow_reader_dropped")
            self._drop()
        except Exception:  # each server has its own way to say that the connection is gone
            self._closed = True
            self._end_answers()

    async def _error(
        self,
        code: str,
        message: Sentence,
        *,
        retryable: bool = False,
        param: str = "",
        about: Incoming | None = None,
    ) -> None:
        error = Error(
            code=code,
            message=str(message),
            retryable=retryable,
            param=param,
            chat=getattr(about, "chat", ""),
            message_id=getattr(about, "message", ""),
            client_id=getattr(about, "client_id", ""),
        )
        await self._deliver(error)

    async def _error_of_form(self, text: str) -> None:
        # msgspec says where: "Expected `float` <= 2.0 - at `$.params.temperature`". Values are never in it
        # but types.
        sentence, _separator, place = text.partition(" - at `$.")
        await self._error("invalid_message", sentence[:300], param=place.rstrip("`")[:100])

    async def _reject(self, error: Rejected, incoming: Incoming) -> None:
        if error.status in (401, 403):
            await self._expel(error)
        else:
            await self._error(
                error.code,
                error.message,
                retryable=error.retryable,
                param=error.param or "",
                about=incoming,
            )

    async def _refuse_pace(self) -> None:
        self._refusals += 1
        if self._refusals > REFUSALS_BEFORE_CLOSE:
            await self._refuse(TOO_MANY, "rate_limited", _TOO_FAST, retryable=True)
        else:
            await self._error("rate_limited", _TOO_FAST, retryable=True)

    async def _expel(self, error: Rejected) -> None:
        """The credential does not count any more."""
        await self._refuse(FORBIDDEN, error.code, error.message)

    async def _refuse(self, close: int, code: str, message: Sentence, *, retryable: bool = False) -> None:
        if self._closed:
            return
        await self._error(code, message, retryable=retryable)
        self._end_answers()
        if not self._closed:
            self._closed = True
            with contextlib.suppress(Exception):  # it may be gone by itself in this moment
                await self.send({"type": "websocket.close", "code": close})

    # --- Life -----------------------------------------------------------------------------------------------

    def _speak_language(self) -> None:
        chosen = self.scope.get("cookies", {}).get(settings.LANGUAGE_COOKIE_NAME, "")
        known = dict(settings.LANGUAGES)
        translation.activate(chosen if chosen in known else settings.LANGUAGE_CODE)

    def _start(self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[Any]] | None = None) -> None:
        tasks = self._tasks if group is None else group
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _end_answers(self) -> None:
        for answering in list(self._answers.values()):
            answering.end(End.INTERRUPTED)

    def _drop(self) -> None:
        self._closed = self._dropped = True
        self._end_answers()
        if self._serving is not None:
            self._serving.cancel()

    async def _wind_up(self) -> None:
        self._closed = True
        self._end_answers()
        for task in self._tasks:
            task.cancel()
        if self._answering:
            _done, late = await asyncio.wait(set(self._answering), timeout=WIND_UP_S)
            for task in late:
                task.cancel()


def is_key_inside(query: bytes) -> bool:
    """Whether an address carries something that is, or is meant as, an API key."""
    text = unquote_plus(query.decode("latin-1")).lower()
    return "atr-" in text or "api_key=" in text or "authorization=" in text


def _ready(caller: Caller) -> Ready:
    routes = sorted(caller.visible_routes().values(), key=lambda route: route.name)
    return Ready(
        tenant=TenantView(id=public_id("ten", caller.tenant_id), slug=caller.tenant_slug),
        models=[
            ModelView(name=route.name, context_length=route.context_length)
            for route in routes
            if route.task == "chat"
        ],
        chats_at_once=CHATS_AT_ONCE,
    )


async def _create(party: Party, incoming: Create) -> ChatView:
    return await repository.create(
        party,
        model=incoming.model,
        title=incoming.title,
        system_prompt=incoming.system,
        parameters=incoming.params.as_dict(),
    )


async def _update(party: Party, incoming: Update) -> ChatView:
    changes: dict[str, Any] = {
        "title": incoming.title,
        "model": incoming.model,
        "system_prompt": incoming.system,
        "parameters": incoming.params.as_dict() if isinstance(incoming.params, Parameters) else UNSET,
    }
    given = {name: value for name, value in changes.items() if value is not UNSET}
    return await repository.update(party, incoming.chat, **given)
