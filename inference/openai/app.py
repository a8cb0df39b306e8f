"""The ASGI application behind `/v1` and `/t/<slug>/v1`: authenticate, bound, submit, answer. Nothing of Django's
request cycle runs here (law L1); what the four routes share is written once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from django.conf import settings

from core.ids import new_id
from inference.call_logs.recorder import Origin, origin_of
from inference.gateway import Caller, Rejected, Stream, gateway
from inference.gateway.errors import invalid_key
from inference.gateway.usage import refusal
from inference.openai.body import ClientGone, read_json
from inference.openai.parameters import checked, priority_of, tags_of
from inference.openai.responses import Responder, SlowReader

log = structlog.get_logger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_POSTS = {"/chat/completions": "chat", "/completions": "completion", "/embeddings": "embedding"}


class _Call:
    """What is known of a request so far, for the records of one that is refused."""

    __slots__ = ("body", "caller", "kind", "origin", "request_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.kind = ""
        self.origin: Origin | None = None  # of a request to a model
        self.caller: Caller | None = None
        self.body: dict[str, Any] = {}

    def refused(self, error: Rejected) -> None:
        """Note that a known caller's request was turned away; one that had begun is noted by its stream."""
        caller, origin = self.caller or error.caller, self.origin
        if caller is None or origin is None or origin.is_noted:
            return
        gateway().logs.refused(caller, origin, kind=self.kind, body=self.body, error=error)
        if self.caller is not None and self.body:
            gateway().spawn(note_refusal(caller, self.body, origin, error))


class OpenAIApplication:
    """`scope["path"]` is `/v1/…` or `/t/<slug>/v1/…`; `config.dispatch` sends nothing else here."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Never raises for the client's doing."""
        responder = Responder(send)
        responder.request_id = f"req_{new_id().hex}"
        # Each request is a task of its own, so these end with it.
        structlog.contextvars.bind_contextvars(request_id=responder.request_id)
        call = _Call(responder.request_id)
        try:
            await self._answer(scope, receive, responder, call)
        except Rejected as error:
            call.refused(error)
            await self._say(responder, error)
        except (ClientGone, SlowReader, ConnectionError):
            return
        except Exception:
            log.exception("openai.failed", request_id=responder.request_id)
            failure = Rejected(500, "internal_error", "Something went wrong on our side.")
            call.refused(failure)
            await self._say(responder, failure)

    @staticmethod
    async def _say(responder: Responder, error: Rejected) -> None:
        with contextlib.suppress(SlowReader, ConnectionError):
            await responder.error(error)

    async def _answer(self, scope: Scope, receive: Receive, responder: Responder, call: _Call) -> None:
        slug, route = split_path(scope["path"])
        headers = single_headers(scope["headers"])
        address = (scope.get("client") or ("",))[0]
        if route in _POSTS:
            call.kind = _POSTS[route]
            call.origin = origin_of(
                headers, address=address, route="/v1" + route, request_id=responder.request_id
            )
        caller = await gateway().caller_for_key(bearer(headers), address)
        if slug is not None and slug != caller.tenant_slug:
            # SECURITY: as if the key did not exist, so that a path tells nobody which tenants there are.
            raise invalid_key()
        call.caller = caller
        structlog.contextvars.bind_contextvars(tenant_id=str(caller.tenant_id))
        if call.origin is not None:
            require_method(scope, "POST", route)
            call.body = await read_json(headers, receive)
            await self._post(caller, call, call.origin, receive, responder, deadline_of(headers))
        elif route == "/models" or route.startswith("/models/"):
            require_method(scope, "GET", route)
            await self._models(caller, route.removeprefix("/models").lstrip("/"), responder)
        else:
            raise Rejected(
                404,
                "unknown_url",
                f"Unknown request URL: {scope['method']} {scope['path'][:200]}.",
                param=None,
            )

    async def _post(
        self,
        caller: Caller,
        call: _Call,
        origin: Origin,
        receive: Receive,
        responder: Responder,
        deadline_ms: int | None,
    ) -> None:
        body = call.body
        request = checked(call.kind, body)
        stream = await gateway().submit(
            caller,
            kind=call.kind,
            body=request,
            route=origin.route,
            deadline_ms=deadline_ms,
            priority=priority_of(body),
            tags=tags_of(body),
            origin=origin,
        )
        responder.request_id = stream.request_id
        structlog.contextvars.bind_contextvars(request_id=stream.request_id)
        responder.headers = stream.rate_headers
        leaving = asyncio.ensure_future(watch_disconnect(receive, stream))
        try:
            if request.get("stream"):
                await self._stream(stream, responder)
            else:
                payload = await stream.result()
                await responder.json(200, payload)
        finally:
            leaving.cancel()
            stream.abandon()

    @staticmethod
    async def _stream(stream: Stream, responder: Responder) -> None:
        while True:
            pieces = await stream.batch(settings.KEEP_ALIVE_COMMENT_S)
            if not responder.begun:
                if pieces == [] and stream.was_abandoned:
                    raise ClientGone
                await responder.begin_stream()
            if pieces is None:
                await responder.comment()
            elif pieces:
                await responder.events([piece.payload for piece in pieces])
            elif stream.was_abandoned:
                raise ClientGone
            else:
                await responder.end_stream()
                return

    @staticmethod
    async def _models(caller: Caller, name: str, responder: Responder) -> None:
        routes = caller.visible_routes()
        if name:
            await responder.json(200, msgspec.json.encode(model_card(caller.route(name))))
            return
        cards = [model_card(route) for _, route in sorted(routes.items())]
        await responder.json(200, msgspec.json.encode({"object": "list", "data": cards}))


def split_path(path: str) -> tuple[str | None, str]:
    """(tenant's slug or None, the path after /v1)."""
    if path.startswith("/t/"):
        slug, _, rest = path[3:].partition("/v1")
        return slug, rest
    return None, path.removeprefix("/v1")


def single_headers(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name. SECURITY: a second Authorization is refused rather than chosen from (CVE-2026-48710)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"authorization" and name in found:
            raise invalid_key()
        found[name] = value
    return found


def deadline_of(headers: dict[bytes, bytes]) -> int | None:
    """`X-Atrium-Deadline-Ms`: how long the client will wait for the whole answer, ms; none when it says nothing.

    Raises Rejected(400) unless it is a whole number above 0. What is longer than the platform's own bound is cut there.
    """
    value = headers.get(b"x-atrium-deadline-ms")
    if value is None:
        return None
    if not (value.isdigit() and len(value) <= 12 and int(value) > 0):
        raise Rejected(
            400,
            "invalid_value",
            "The header X-Atrium-Deadline-Ms must be a whole number of milliseconds above 0.",
            param="x-atrium-deadline-ms",
        )
    return int(value)


def bearer(headers: dict[bytes, bytes]) -> str:
    """The key in `Authorization: Bearer …`. Raises Rejected(401)."""
    value = headers.get(b"authorization")
    if value is None:
        raise Rejected(
            401,
            "missing_api_key",
            "You didn't provide an API key. Send it as 'Authorization: Bearer atr-…'.",
            kind="authentication_error",
        )
    word, _, key = value.partition(b" ")
    if word.lower() != b"bearer":
        raise invalid_key()
    try:
        return key.strip().decode("ascii")
    except UnicodeDecodeError as error:
        raise invalid_key() from error


def require_method(scope: Scope, method: str, route: str) -> None:
    """Raises Rejected(405) for another method."""
    if scope["method"] != method:
        raise Rejected(
            405, "method_not_allowed", f"Not allowed to {scope['method']} on /v1{route[:100]}. Use {method}."
        )


async def watch_disconnect(receive: Receive, stream: Stream) -> None:
    """Stop the engine's work when the client leaves (law L4)."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            stream.abandon()
            return


async def note_refusal(caller: Caller, body: dict[str, Any], origin: Origin, error: Rejected) -> None:
    """A usage record for a request that came no further."""
    model, user = body.get("model"), body.get("user")
    note = refusal(
        caller,
        request_id=origin.request_id,
        started_ms=origin.begun_ms,
        model=model if isinstance(model, str) else "",
        route=origin.route,
        stream=body.get("stream") is True,
        code=error.code,
        end_user=user if isinstance(user, str) else "",
    )
    try:
        await gateway().start()
        await gateway().account(note)
    except Exception:
        log.warning("openai.refusal_not_recorded", code=error.code)


def model_card(route: Any) -> dict[str, Any]:
    """A model as OpenAI lists it, with vLLM's `max_model_len` beside it."""
    return {
        "id": route.name,
        "object": "model",
        "created": route.created,
        "owned_by": route.owned_by,
        "max_model_len": route.context_length,
    }
