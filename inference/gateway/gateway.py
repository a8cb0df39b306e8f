"""`Gateway`: one per web process and event loop. Submits requests, reads what engines answer, watches over both."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import secrets
import weakref
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from core import clock
from core.events import STREAM as EVENTS
from core.ids import new_id
from core.valkey import async_client
from inference import tokens
from inference.admission.bounds import Bounds, bound
from inference.admission.client import Admission, Admitted, Asking
from inference.admission.loader import AsyncScripts
from inference.call_logs.recorder import Origin, process_call_logs
from inference.gateway.callers import Caller
from inference.gateway.errors import Rejected, queue_full, require_task, unavailable
from inference.gateway.policies import PolicyCache
from inference.gateway.safety import Safety
from inference.gateway.stream import Stream
from inference.gateway.usage import note_of
from inference.gateway.watch import Watcher
from inference.queue import calls
from inference.queue.client import ANSWER_S, QueueFull, RequestQueue
from inference.queue.journal import process_journal
from inference.queue.keys import KEY_USE, WEBS, outbox
from inference.queue.wire import Ticket, UsageNote, decode_frames
from inference.tokens.control import as_text, control_words
from models_registry.specs import Route

log = structlog.get_logger(__name__)

BEAT_S = 1.0
# How often the holds and slots of requests in flight are renewed; they last `admission.client.TTL_MS`.
RENEW_S = 10.0
OUTBOX_TTL_S = 120


class Gateway:
    """The way of every request of this process; starts with the loop's first request, lives as long as the loop."""

    def __init__(self) -> None:
        self.web = f"{settings.NODE_NAME}-{os.getpid()}-{secrets.token_hex(4)}"
        self.policies = PolicyCache()
        self.streams: dict[str, Stream] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening: asyncio.Future[None] | None = None
        self._launched = False
        self._started = False
        self._used_keys: dict[str, int] = {}
        self._last_frame = b"0"
        self._renewal = asyncio.Event()
        self.draining = False
        self.logs = process_call_logs()

    # --- Life

    def launch(self) -> None:
        """Begin to listen, once. Does not wait, and does not mind when Valkey is away."""
        if self._launched:
            return
        self._launched = True
        self.client = async_client()
        self._reading = async_client(blocking_read=True)
        self.queue = RequestQueue(self.client)
        self.admission = Admission(self.client, AsyncScripts(self.client, on_epoch=self._renew_now))
        self.safety = Safety(self.client, self._spawn_apart)
        self._spawn_apart(self._read_events())
        self._spawn_apart(self._beat())
        self._spawn_apart(self._renew())
        self._spawn_apart(Watcher(self).run())
        process_journal().start()

    async def start(self) -> None:
        """Launch, and open the outbox that answers come to. Raises RedisError while Valkey is away."""
        self.launch()
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        await self._open_outbox()
        self._spawn_apart(self._read_frames())
        self._started = True

    async def close(self) -> None:
        """Stop reading and let go of the connections (tests, shutdown)."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=5)
            for task in stuck:
                log.error("gateway.task_did_not_end", task=repr(task)[:300])
        if self._launched:
            await self.admission.flush()
            await self.safety.close()
            with contextlib.suppress(RedisError):
                await self.client.hdel(WEBS, self.web)
                await self.client.delete(outbox(self.web))
            await self.client.aclose()
            await self._reading.aclose()

    async def drain(self, timeout_s: float = 20.0) -> None:
        """Wait for the requests in flight before a shutdown, as long as it takes but no longer than `timeout_s`."""
        self.draining = True
        deadline = clock.monotonic() + timeout_s
        while self.streams and clock.monotonic() < deadline:  # noqa: ASYNC110 - a dictionary has no event
            await asyncio.sleep(0.05)

    def _spawn_apart(self, work: Coroutine[Any, Any, Any]) -> None:
        """As `spawn`, for what outlives the request that began it: its log lines must not name that one."""
        contextvars.Context().run(self.spawn, work)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something beside the requests, and keep hold of it."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- Requests

    async def caller_for_key(self, secret: str, address: str) -> Caller:
        """Who an API key speaks for. Raises Rejected unless it may call now."""
        self.launch()
        caller = await self.policies.for_key(secret)
        try:
            caller.check(address)
        except Rejected as error:
            error.caller = caller  # known, and not let in: its tenant's call log will say so
            raise
        if caller.key_id is not None:
            self._used_keys[str(caller.key_id)] = clock.epoch_ms()
        return caller

    async def caller_for_member(self, user_id: UUID, tenant_id: UUID, address: str) -> Caller:
        """Who a signed-in member is in a tenant. Raises Rejected unless the member may call now."""
        self.launch()
        caller = await self.policies.for_member(user_id, tenant_id)
        caller.check(address)
        return caller

    async def submit(
        self,
        caller: Caller,
        *,
        kind: str,
        body: dict[str, Any],
        route: str,
        resume_from: list[list[int]] | None = None,
        deadline_ms: int | None = None,
        priority: int = 0,
        tags: dict[str, str] | None = None,
        origin: Origin | None = None,
    ) -> Stream:
        """Admit a request and put it into its tenant's queue. `body` is an OpenAI request; the surface has bounded it.

        With `resume_from` (token ids per choice) the answer begins with exactly these tokens. `deadline_ms` from now
        ends it earlier than the platform does. `priority` orders requests inside the tenant, where its plan allows
        it.

        `origin` says where it comes from, for the call log; a refusal is the surface's to note. One round trip to
        Valkey. Raises Rejected when the model is not the caller's, a limit says no, the queue is full, or Valkey is
        away.
        """
        target = caller.route(body["model"])
        require_task(target, kind)
        origin = origin or Origin()
        body, shield = await self.safety.pass_in(caller, target, kind, body, origin)
        if kind != "completion":
            body = as_text(kind, body, await control_words(target))
        bounds, body = bound(target, kind, body, await tokens.count(target, kind, body))
        ticket = self._ticket(caller, target, kind, body, route, resume_from or [])
        if deadline_ms is not None:
            ticket.deadline_ms = min(ticket.deadline_ms, ticket.enqueued_ms + deadline_ms)
        plan = caller.policy.plan
        ticket.weight, ticket.band = plan.weight, plan.band
        ticket.priority = priority if plan.allow_priority else 0
        ticket.prompt_tokens, ticket.most_tokens = bounds.prompt_tokens, bounds.most_tokens
        ticket.tags = tags or {}
        stream = Stream(self, caller, ticket, resumable=target.engine != "openai" and not has_several(body))
        recording = self.logs.begin(caller, kind, origin, ticket.id)
        stream.record(recording)
        if shield is not None:
            stream.guard(shield)
        self.streams[ticket.id] = stream
        try:
            await self._start_for(ticket)
            await self._admit_and_enqueue(stream, target, bounds)
        except BaseException as error:
            stream.recording = None  # a refusal is the surface's to note
            self.release(stream)
            if not isinstance(error, Rejected):
                self.spawn(self._withdraw(ticket))
            raise
        self.logs.begun(recording, ticket.id)
        return stream

    async def _start_for(self, ticket: Ticket) -> None:
        if self._started:
            return
        try:
            # Only the first requests of a process wait here.
            async with asyncio.timeout(ANSWER_S):
                await self.start()
        except (RedisError, TimeoutError) as error:
            log.warning("gateway.not_started", request_id=ticket.id, error=type(error).__name__)
            raise unavailable("The request could not be queued. Try again shortly.") from error

    async def _admit_and_enqueue(self, stream: Stream, target: Route, bounds: Bounds) -> None:
        """Hold what the request may need, and hand it to the queue: in one round trip where nothing is to be fetched.

        What was held is given back when the queue does not take it.
        """
        ticket, caller = stream.ticket, stream.caller
        limit = caller.policy.plan.queue_limit
        limit = settings.QUEUE_LIMIT_PER_TENANT if limit is None else limit
        key = self.admission.requests_key(caller.tenant_id)

        def enqueueing(hold_nano: int, price: str, epoch: str) -> Sequence[Any]:
            ticket.price, ticket.hold_nano, ticket.epoch = price, hold_nano, epoch
            return self.queue.enqueue_when_admitted(ticket, limit, key)

        stream.admitted = admitted = await self.admission.admit(
            Asking(
                request_id=ticket.id,
                tenant_id=caller.tenant_id,
                policy=caller.policy,
                route=target,
                routes=caller.routes,
                bounds=bounds,
            ),
            enqueueing,
        )
        stream.rate_headers = admitted.headers
        try:
            if isinstance(admitted.then, list) and admitted.then[0] != 2 and admitted.epoch == ticket.epoch:
                calls.enqueued(admitted.then)
            else:
                ticket.price, ticket.hold_nano = admitted.price, admitted.hold_nano
                ticket.epoch = admitted.epoch
                await self.queue.enqueue(ticket, limit)
            stream.enqueued()
            if stream.finished:
                self.ended(stream)  # a fast engine was done before this process heard of the admission
        except QueueFull as full:
            self.spawn(self._withdraw(ticket))
            raise queue_full(full) from full
        except RedisError as error:
            self.spawn(self._withdraw(ticket))
            log.warning("gateway.enqueue_failed", request_id=ticket.id, error=type(error).__name__)
            raise unavailable("The request could not be queued. Try again shortly.") from error

    async def _withdraw(self, ticket: Ticket) -> None:
        """Undo the admission of a request that its client was told is not served.

        It may be in the queue all the same: then it is taken out first, and one that a replica has taken already is
        stopped, and settled to what it used. What cannot be undone here expires (law L14).
        """
        delay = 0.05
        for _ in range(12):
            try:
                replica = await self.queue.cancel(ticket.deployment, ticket.tenant, ticket.id)
                if not replica:
                    await self.admission.undo(ticket.id, UUID(ticket.tenant))
                return
            except RedisError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
        log.error("gateway.withdraw_failed", request_id=ticket.id)

    def _ticket(
        self,
        caller: Caller,
        target: Any,
        kind: str,
        body: dict[str, Any],
        route: str,
        forced: list[list[int]],
    ) -> Ticket:
        now_ms = clock.epoch_ms()
        return Ticket(
            id=f"req_{new_id().hex}",
            web=self.web,
            attempt=0,
            kind=kind,
            tenant=str(caller.tenant_id),
            key=str(caller.key_id) if caller.key_id else None,
            user=str(caller.user_id) if caller.user_id else None,
            model=target.name,
            version=str(target.version_id),
            deployment=str(target.deployment_id),
            route=route,
            salt=caller.salt,
            enqueued_ms=now_ms,
            deadline_ms=now_ms + int(settings.REQUEST_TIMEOUT_S * 1000),
            body=body,
            forced=forced,
            end_user=str(body.get("user") or "")[:200],
        )

    def release(self, stream: Stream) -> None:
        """Forget a stream that its surface is done with."""
        self.streams.pop(stream.request_id, None)
        self.ended(stream)
        recording, stream.recording = stream.recording, None
        if recording is not None:
            self.logs.end(recording, stream)

    def ended(self, stream: Stream) -> None:
        """A request runs no longer, or nobody waits for it: its slot is free for the next at once."""
        admitted, stream.admitted = stream.admitted, None
        if admitted is None:
            return
        delay_s = self.admission.ended(admitted)
        if delay_s == 0:
            self.spawn(self.admission.flush())
        elif delay_s is not None:
            asyncio.get_running_loop().call_later(delay_s, self._flush)

    def _flush(self) -> None:
        self.spawn(self.admission.flush())

    def stop(self, stream: Stream, *, outcome: str, code: str) -> None:
        """Tell the engine to stop, and see that the request is accounted for."""
        self.spawn(self._stop(stream, outcome, code))

    async def _stop(self, stream: Stream, outcome: str, code: str) -> None:
        ticket = stream.ticket
        delay = 0.05
        for _ in range(12):
            try:
                end = f"{outcome} {code}" if outcome == "completed" else ""
                replica = await self.queue.cancel(ticket.deployment, ticket.tenant, ticket.id, end)
                if replica == "":
                    await self.account(note_of(stream, outcome, code))
                return
            except RedisError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
        log.error("gateway.stop_failed", request_id=ticket.id)

    async def account(self, note: UsageNote) -> None:
        """Write a usage record of this process, into the journal and the stream. Raises RedisError."""
        await self.queue.account(note, process_journal().append(note))

    def lost_frames(self, stream: Stream) -> None:
        """A frame is missing: have the request produced again, from the tokens that did arrive."""
        self.spawn(Watcher(self).begin_again(stream, stream.replica))

    # --- Background

    async def _open_outbox(self) -> None:
        name = outbox(self.web)
        pipeline = self.client.pipeline(transaction=False)
        pipeline.xadd(name, {"f": msgspec.msgpack.encode([])}, maxlen=20_000, approximate=True)
        pipeline.expire(name, OUTBOX_TTL_S)
        await pipeline.execute()
        await self.queue.beat(WEBS, self.web, {})

    async def _read_frames(self) -> None:
        name = outbox(self.web)
        while True:
            try:
                answer = await self._reading.read_streams({name: self._last_frame}, block_ms=5000, count=1000)
            except (RedisError, OSError):
                await asyncio.sleep(0.1)
                continue
            for _, entries in answer:
                for entry_id, (_, frames) in entries:
                    self._last_frame = entry_id
                    for frame in decode_frames(frames):
                        stream = self.streams.get(frame.id)
                        if stream is not None:
                            stream.feed(frame)
            # Answers go to their clients first: a write to Valkey often takes longer than all of this.
            await asyncio.sleep(0)

    async def _read_events(self) -> None:
        last: Any = None
        while True:
            try:
                if last is None:
                    newest = await self.client.xrevrange(EVENTS, count=1)
                    last = newest[0][0] if newest else b"0"
                    self._changed(None)  # what was missed is unknown
                    self.safety.source.forget(None)
                answer = await self._reading.read_streams({EVENTS: last}, block_ms=5000, count=1000)
            except (RedisError, OSError):
                last = None
                await asyncio.sleep(0.1)
                continue
            for _, entries in answer:
                for entry_id, (_, event) in entries:
                    last = entry_id
                    said = msgspec.json.decode(event)
                    tenant = said.get("tenant_id")
                    self.safety.source.heard(said)
                    self._changed(UUID(tenant) if tenant else None)

    def _changed(self, tenant_id: UUID | None) -> None:
        """Something about a tenant (or any) changed: forget it, and look again at its requests in flight."""
        self.policies.forget(tenant_id)
        for stream in list(self.streams.values()):
            if tenant_id is None or stream.caller.tenant_id == tenant_id:
                self.spawn(self._check_again(stream))

    async def _check_again(self, stream: Stream) -> None:
        try:
            caller = await self.policies.again(stream.caller)
            caller.check_standing()
        except Rejected as error:
            if error.status in (401, 403):
                stream.interrupt(error)

    async def _beat(self) -> None:
        name = outbox(self.web)
        while True:
            await asyncio.sleep(BEAT_S)
            await self.admission.flush()
            try:
                await self.queue.beat(WEBS, self.web, {"streams": len(self.streams)})
                if not await self.client.expire(name, OUTBOX_TTL_S):
                    await self._open_outbox()
                await self.client.xtrim(name, minid=self._last_frame, approximate=True)
                if self._used_keys:
                    used, self._used_keys = self._used_keys, {}
                    await self.client.hset(KEY_USE, mapping=used)  # type: ignore[arg-type]
            except (RedisError, OSError):
                log.warning("gateway.beat_missed")

    async def _renew(self) -> None:
        """Renew what is held for requests in flight; at once when another server answers than before."""
        due = clock.monotonic() + RENEW_S
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._renewal.wait(), BEAT_S)
            try:
                if not self._renewal.is_set():
                    await self.admission.scripts.confirm()  # sets it, when this server's memory is a new one
                if self._renewal.is_set() or clock.monotonic() >= due:
                    self._renewal.clear()
                    due = clock.monotonic() + RENEW_S
                    await self.admission.renew(self._in_flight())
            except (RedisError, OSError):
                self._renewal.set()
                log.warning("gateway.renewal_missed")
                await asyncio.sleep(0.2)

    def _renew_now(self) -> None:
        self._renewal.set()

    def _in_flight(self) -> list[Admitted]:
        return [
            stream.admitted for stream in self.streams.values() if stream.admitted and not stream.finished
        ]


def has_several(body: dict[str, Any]) -> bool:
    """Whether one request completes several prompts."""
    prompt = body.get("prompt")
    return isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int)


_gateways: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Gateway] = weakref.WeakKeyDictionary()


def gateway() -> Gateway:
    """The gateway of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _gateways.get(loop)
    if found is None:
        found = _gateways[loop] = Gateway()
    return found
