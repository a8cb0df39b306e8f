"""`Replica`: one engine at work. Pulls requests whenever its batch has room, runs them, sends back what comes.

Requests wait in the tenants' queues, where tenants are told apart, never inside the engine (design: data plane §2).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from core import clock
from core.valkey import async_client
from inference.queue.calls import ANY_TOKENS
from inference.queue.client import RequestQueue
from inference.queue.journal import process_journal
from inference.queue.keys import ENGINE_TOTALS, WEBS
from inference.queue.wire import (
    CHUNK,
    DONE,
    FAILURE,
    RESULT,
    STARTED,
    EngineTotals,
    Frame,
    Ticket,
    decode_ticket,
    note_from,
)
from inference.worker import failures
from inference.worker.job import Job
from inference.worker.noted import Noted
from inference.worker.outbox import Outbox
from inference.worker.port import Chunk, Engine, EngineDead, EngineRequest, Failure, Result

log = structlog.get_logger(__name__)

BEAT_S = 0.5
TOTALS_BEATS = 4  # totals are written down with every so many heartbeats
WEB_CHECK_S = 1.0
WEB_DEAD_MS = 4_000
DRAIN_S = 30.0
IDLE_PULL_S = 2.0  # a wake-up that got lost costs at most this
IDLE_MS = 3_000  # a replica that has said nothing for so long is handed no work
# While the batch is full, the queue is asked for requests of tenants that run less than their part: this long after
# something came, and this often while more than one tenant waits.
EXPRESS_PAUSE_S = 0.002
EXPRESS_POLL_S = 0.01
HANDED_PAUSE_S = 0.002  # after this the queue is asked in any case
# How often tenants are charged for the answers' tokens; the charge travels with the message of an engine step.
CHARGE_S = 0.05


class Replica:
    """Runs until told to stop, or until its engine dies (EngineDead is raised then)."""

    def __init__(self, *, replica_id: str, node: str, deployment_id: str, engine: Engine) -> None:
        self.id = replica_id
        self.node = node
        self.deployment = deployment_id
        self.engine = engine
        self.state = "starting"
        self._jobs: dict[str, Job] = {}
        self._ending: set[asyncio.Task[None]] = set()  # ended, and waiting for the engine's last word
        self._noted = Noted()
        self._begun_ms = clock.epoch_ms()
        self._cancelled_early: dict[str, str] = {}
        self._handed: set[bytes] = set()  # entries of the stream of work that the queue has not forgotten yet
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._full = False  # nothing but express requests can be taken
        self._stop = asyncio.Event()
        self._dead: EngineDead | None = None

    async def run(self) -> None:
        """Start the engine, serve, drain. Raises what the engine's start raised, or EngineDead."""
        self._client = async_client()
        self._reading = async_client(blocking_read=True)
        self._queue = RequestQueue(self._client)
        self._keys = self._queue.keys(self.deployment)
        self._outbox = Outbox(self._queue, self.deployment, self._web_gone, self._sent)
        tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._outbox.run())]
        try:
            tasks.append(asyncio.create_task(self._listen()))
            await self._or_stop(self.engine.start())
            if not self._stop.is_set():
                self.state = "ready"
                log.info("replica.ready", replica=self.id, deployment=self.deployment)
                tasks += [
                    asyncio.create_task(self._pull()),
                    asyncio.create_task(self._charge()),
                    asyncio.create_task(self._watch_webs()),
                    asyncio.create_task(self._watch_engine()),
                ]
                await self._stop.wait()
            await self._drain()
        finally:
            await self._end(tasks)
        if self._dead is not None:
            raise self._dead

    def stop(self) -> None:
        """Take no more requests; end when those at work have ended."""
        self._stop.set()
        self._wake.set()
        self._room.set()

    async def _or_stop(self, start: Any) -> None:
        starting = asyncio.ensure_future(start)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            starting.result()
        else:
            await asyncio.wait([starting])  # a half-loaded engine cannot be ended; wait, then end it

    async def _drain(self) -> None:
        if self._dead is not None:
            return
        self.state = "draining"
        with contextlib.suppress(RedisError, OSError):  # else other replicas go on with what is left there
            await self._client.hdel(self._keys.idle, self.id)
            (left,) = await self._client.ask([("XRANGE", self._keys.work(self.id), "-", "+")])
            if isinstance(left, list):
                self._take_handed(left)
        running = self._tasks()
        if running:
            await asyncio.wait(running, timeout=DRAIN_S)

    def _tasks(self) -> list[asyncio.Task[None]]:
        """Of the requests that are not accounted for yet."""
        return [*(job.task for job in self._jobs.values() if job.task is not None), *self._ending]

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        if self._dead is not None:
            # Another replica goes on with these: their tickets stay, and the heartbeat goes.
            for job in self._jobs.values():
                job.dropped = True
        for job in list(self._jobs.values()):
            job.outcome, job.code = job.outcome or "failed", job.code or "replica_stopped"
            if job.task is not None:
                job.task.cancel()
        await asyncio.gather(*self._tasks(), return_exceptions=True)
        await self._outbox.flush(5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._say_totals(ended=True)
        with contextlib.suppress(RedisError, OSError):
            await self._client.hdel(self._keys.replicas, self.id)
            await self._client.hdel(self._keys.pulls, self.id)
            await self._client.delete(self._keys.control(self.id), self._keys.work(self.id))
        await self._client.aclose()
        await self._reading.aclose()
        await self.engine.close()

    # --- Requests

    async def _pull(self) -> None:
        number = self._queue.next_pull()
        while not self._stop.is_set():
            jobs, capacity = len(self._jobs), self.engine.capacity
            tokens = self._prefill_room()
            room = max(0, capacity - jobs) if tokens > 0 else 0
            express = capacity + self.engine.express - max(jobs, capacity)
            if room <= 0 and express <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            self._wake.clear()
            self._full = room == 0
            try:
                pulled = await self._queue.take(
                    self.deployment,
                    self.id,
                    number,
                    room=min(room, 64),
                    express=express,
                    tokens=tokens,
                    idle_ms=IDLE_MS,
                    read=(read := list(self._handed)),
                )
            except (RedisError, OSError):
                await asyncio.sleep(0.1)
                continue  # with the same number: what the lost answer held comes again
            number = self._queue.next_pull()
            self._handed.difference_update(read)
            for payload in pulled.payloads:
                self._accept(decode_ticket(payload))
            if not pulled.payloads or not pulled.more:
                await self._until_more(others=pulled.others)

    async def _until_more(self, *, others: bool) -> None:
        """Until asking the queue again may give something."""
        wait_s = EXPRESS_POLL_S if self._full and others else IDLE_PULL_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        if self._full and not self._stop.is_set():
            await asyncio.sleep(EXPRESS_PAUSE_S)

    def _prefill_room(self) -> int:
        """Prompt tokens that the engine may still be given before it has read what it has."""
        if not self.engine.prefill_tokens:
            return ANY_TOKENS
        unread = sum(
            job.ticket.prompt_tokens
            for job in self._jobs.values()
            if job.request.meter.first_token_at is None
        )
        return self.engine.prefill_tokens - unread

    async def _charge(self) -> None:
        """Charge tenants for what their requests have used, as it comes out."""
        while True:
            await asyncio.sleep(CHARGE_S)
            for job in self._jobs.values():
                used = (job.request.meter.prompt_tokens, job.request.meter.completion_tokens)
                if used != job.charged and not job.dropped:
                    job.charged = used
                    self._outbox.charge(job.ticket.id, used)
            if self._full:
                self._wake.set()  # prompts may have been read meanwhile

    def _accept(self, ticket: Ticket) -> None:
        now_ms = clock.epoch_ms()
        request = EngineRequest(ticket.id, ticket.kind, ticket.body, ticket.salt, ticket.forced)  # type: ignore[arg-type]
        request.express = len(self._jobs) >= self.engine.capacity
        # Inside the engine too a tenant's first request goes before a neighbour's twentieth.
        request.priority = sum(job.ticket.tenant == ticket.tenant for job in self._jobs.values())
        job = Job(ticket, request, now_ms)
        order = self._cancelled_early.pop(ticket.id, None)
        if order is not None:
            job.outcome, job.code, job.dropped = "cancelled", "client_gone", order == "drop"
            self._account(job)
            return
        if now_ms >= ticket.deadline_ms:
            job.outcome, job.code = "failed", self._failed(job, failures.deadline_exceeded())
            self._account(job)
            return
        started = {"replica": self.id, "queue_ms": max(0, now_ms - ticket.enqueued_ms)}
        # A fast engine's first words leave in the same message.
        self._say(job, STARTED, msgspec.json.encode(started), can_wait=True)
        self._jobs[ticket.id] = job
        job.task = asyncio.create_task(self._serve(job))
        job.task.add_done_callback(lambda _task: self._never_begun(job))

    def _never_begun(self, job: Job) -> None:
        """End a job whose task was cancelled before its first step: then nothing of `_serve` has run."""
        if self._jobs.get(job.ticket.id) is not job:
            return
        del self._jobs[job.ticket.id]
        self._room.set()
        job.outcome, job.code = job.outcome or "cancelled", job.code or "client_gone"
        self._account(job)

    async def _serve(self, job: Job) -> None:
        outcome, code = "completed", ""
        events = self.engine.run(job.request)
        try:
            async with asyncio.timeout(max(0.0, job.ticket.deadline_ms - clock.epoch_ms()) / 1000):
                async for event in events:
                    if isinstance(event, Chunk):
                        self._say(job, CHUNK, event.payload, event.tokens)
                    elif isinstance(event, Result):
                        self._say(job, RESULT, event.payload)
                    else:
                        outcome, code = "failed", self._failed(job, event)
        except asyncio.CancelledError:
            outcome, code = job.outcome or "cancelled", job.code or "client_gone"
        except TimeoutError:
            outcome, code = "failed", self._failed(job, failures.timeout())
        except EngineDead as error:
            job.dropped = True
            self._engine_died(error)
        except Exception:
            log.exception("replica.request_failed", request_id=job.ticket.id)
            outcome, code = "failed", self._failed(job, failures.internal())
        finally:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await events.aclose()  # type: ignore[attr-defined]
            job.outcome, job.code = outcome, code
            self._jobs.pop(job.ticket.id, None)
            self._room.set()
            if self._full:
                self._wake.set()
            if outcome == "completed" and not job.dropped:
                self._say(job, DONE, b"")
            await self._settle(job)
            self._account(job)

    async def _settle(self, job: Job) -> None:
        """Let the engine complete the meter; the client has its answer and the next request its place already."""
        task = job.task
        if task is None or self._dead is not None:
            return
        self._ending.add(task)
        try:
            await self.engine.settle(job.request)
        except asyncio.CancelledError:
            log.info("replica.settled_early", request_id=job.ticket.id)
        except Exception:
            log.exception("replica.settle_failed", request_id=job.ticket.id)
        finally:
            self._ending.discard(task)

    def _failed(self, job: Job, failure: Failure) -> str:
        self._say(job, FAILURE, failure.payload, status=failure.status)
        try:
            return str(msgspec.json.decode(failure.payload)["error"].get("code") or "engine_error")
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return "engine_error"

    def _say(
        self,
        job: Job,
        kind: int,
        payload: bytes,
        tokens: list[tuple[int, list[int]]] | None = None,
        *,
        status: int = 0,
        can_wait: bool = False,
    ) -> None:
        frame = Frame(job.ticket.id, job.ticket.attempt, job.seq, kind, payload, tokens or [], status)
        job.seq += 1
        self._outbox.put(job.ticket.web, frame, can_wait=can_wait)

    def _account(self, job: Job) -> None:
        ticket, meter = job.ticket, job.request.meter
        if job.dropped:
            self._noted.dropped_ns += meter.gpu_prefill_ns + meter.gpu_decode_ns
            return
        now_ms = clock.epoch_ms()
        first = meter.first_token_at
        first_ms = (
            None if first is None else int(now_ms - (clock.monotonic() - first) * 1000 - ticket.enqueued_ms)
        )
        note = note_from(ticket, outcome=job.outcome, code=job.code, finished_ms=now_ms)
        note.replica = self.id
        note.prompt_tokens = meter.prompt_tokens
        note.cached_tokens = meter.cached_tokens
        note.completion_tokens = meter.completion_tokens
        note.gpu_prefill_ns = meter.gpu_prefill_ns
        note.gpu_decode_ns = meter.gpu_decode_ns
        note.queue_ms = max(0, job.started_ms - ticket.enqueued_ms)
        note.first_token_ms = None if first_ms is None else max(0, first_ms)
        if 0 < ticket.prompt_tokens < note.prompt_tokens:
            # The hold was made for fewer tokens: the count of this model's prompts cannot be relied on.
            self._noted.undercounted += 1
            log.error(
                "replica.prompt_undercounted",
                request_id=ticket.id,
                version=ticket.version,
                counted=ticket.prompt_tokens,
                found=note.prompt_tokens,
            )
        self._noted.add(note)
        self._outbox.account(note)

    # --- Orders

    async def _listen(self) -> None:
        """Wake-ups and orders, from one blocking read."""
        work = self._keys.work(self.id)
        last = {self._keys.wake: b"$", self._keys.control(self.id): b"0", work: b"0"}
        while True:
            try:
                answer = await self._reading.read_streams(last, block_ms=5000, count=256)
            except (RedisError, OSError):
                self._wake.set()
                await asyncio.sleep(0.1)
                continue
            for name, entries in answer:
                last[name.decode()] = entries[-1][0]
                if name.decode() == self._keys.wake:
                    self._wake.set()
                    continue
                if name.decode() == work:
                    self._take_handed(entries)
                    continue
                for _, (order, argument) in entries:
                    self._obey(order.decode(), argument.decode())
            await asyncio.sleep(0)  # whoever was told something goes before the next question is written

    def _take_handed(self, entries: list[tuple[bytes, list[bytes]]]) -> None:
        """Begin with what came while there was nothing to do. The queue is asked again, and forgets the entries, when
        something of the answer has left: the question would stand in its way, and who comes meanwhile wakes."""
        fresh = [entry for entry in entries if entry[0] not in self._handed]
        self._handed.update(entry for entry, _ in fresh)
        if self._dead is None:
            for _, (_, payload) in fresh:
                self._accept(decode_ticket(payload))
        asyncio.get_running_loop().call_later(HANDED_PAUSE_S, self._wake.set)

    def _sent(self) -> None:
        if self._handed:
            self._wake.set()

    def _obey(self, order: str, argument: str) -> None:
        if order == "stop":
            self.stop()
            return
        request_id, *end = argument.split(" ")
        job = self._jobs.get(request_id)
        if job is None:
            # The order overtook the request on its way here.
            self._cancelled_early[request_id] = order
            while len(self._cancelled_early) > 10_000:
                self._cancelled_early.pop(next(iter(self._cancelled_early)))
            return
        if order == "drop":
            job.dropped = True
        if len(end) == 2:
            job.outcome, job.code = end
        if job.task is not None:
            job.task.cancel()

    def _web_gone(self, web: str) -> None:
        for job in list(self._jobs.values()):
            if job.ticket.web == web and job.task is not None:
                job.outcome, job.code = "cancelled", "gateway_lost"
                job.task.cancel()

    async def _watch_webs(self) -> None:
        """Stop working for web processes that are gone: nobody would read the answers (law L4)."""
        steady_since = clock.monotonic()
        while True:
            await asyncio.sleep(WEB_CHECK_S)
            webs = {job.ticket.web for job in self._jobs.values()}
            if not webs:
                continue
            try:
                beats = await self._queue.beats(WEBS)
            except (RedisError, OSError):
                steady_since = clock.monotonic()
                continue
            if clock.monotonic() - steady_since < WEB_DEAD_MS / 1000 + 1:
                continue
            for web in webs:
                if beats.get(web, {}).get("age_ms", WEB_DEAD_MS) >= WEB_DEAD_MS:
                    self._web_gone(web)

    # --- Health

    async def _watch_engine(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await self.engine.check_health()
            except EngineDead as error:
                self._engine_died(error)
                return

    def _engine_died(self, error: EngineDead) -> None:
        if self._dead is None:
            log.error("replica.engine_died", replica=self.id, error=str(error))
            self._dead = error
            self.stop()

    def totals(self) -> EngineTotals:
        """What the engine has done and what usage records say of it; the two are compared by reconciliation."""
        who = {"replica": self.id, "deployment_id": self.deployment, "node": self.node}
        return self._noted.totals(self.engine.counters(), begun_ms=self._begun_ms, **who)

    async def _say_totals(self, *, ended: bool) -> None:
        """Leave the totals where the jobs worker finds them, also after this process; the last ones on disk too."""
        if self.state == "starting":
            return
        totals = self.totals()
        if ended:
            totals.ended_ms = totals.seen_ms
            totals.mark = process_journal().append_totals(totals)
        with contextlib.suppress(RedisError, OSError):
            await self._client.hset(ENGINE_TOTALS, self.id, msgspec.json.encode(totals))

    async def _beat(self) -> None:
        beats = 0
        while True:
            facts: dict[str, Any] = {
                "node": self.node,
                "state": self.state,
                "capacity": self.engine.capacity,
                "in_flight": len(self._jobs),
            }
            if self.state != "starting":
                facts["counters"] = asdict(self.engine.counters())
                facts["noted"] = asdict(self._noted)
            with contextlib.suppress(RedisError, OSError):
                await self._queue.beat(self._keys.replicas, self.id, facts)
            if beats % TOTALS_BEATS == 0:
                await self._say_totals(ended=False)
            beats += 1
            await asyncio.sleep(BEAT_S)
