"""The queue's asyncio client: one per web process and one per replica."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as NoAnswerError

from core.valkey_link import LinkedClient
from inference.queue import calls, scripts
from inference.queue.calls import ANY_TOKENS, Pulled, QueueFull, TenantStatus, Usage
from inference.queue.keys import USAGE, DeploymentKeys, outbox
from inference.queue.wire import Frame, Ticket, UsageNote, encode_frames, encode_usage

# Entries that an outbox may hold before the oldest go; a web process this far behind resumes from its own count.
OUTBOX_LENGTH = 20_000
USAGE_LENGTH = 5_000_000
# A server that takes connections and says nothing is given up after this long, whatever the client's retries add up to.
ANSWER_S = 20.0


class RequestQueue:
    """Requests to replicas, and what they answer. Every method is one round trip, and safe to run twice."""

    def __init__(self, client: LinkedClient) -> None:
        self.client = client
        self._enqueue = client.register_script(scripts.ENQUEUE)
        self._pull = client.register_script(scripts.PULL)
        self._cancel = client.register_script(scripts.CANCEL)
        self._requeue = client.register_script(scripts.REQUEUE)
        self._charge = client.register_script(scripts.CHARGE)
        self._finish = client.register_script(scripts.FINISH)
        self._status = client.register_script(scripts.STATUS)
        self._beat = client.register_script(scripts.BEAT)
        self._keys: dict[str, DeploymentKeys] = {}
        self._numbers = (f"{secrets.token_hex(4)}-{number}" for number in itertools.count())

    def keys(self, deployment: str) -> DeploymentKeys:
        """Names of one deployment's keys."""
        found = self._keys.get(deployment)
        if found is None:
            found = self._keys[deployment] = DeploymentKeys(deployment)
        return found

    async def enqueue(self, ticket: Ticket, limit: int) -> int:
        """Add a request to its tenant's queue; returns its place. Raises QueueFull, and RedisError in ANSWER_S."""
        keys = self.keys(ticket.deployment)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._run(self._enqueue, keys, calls.enqueue(keys, ticket, limit))
        except TimeoutError as error:
            raise NoAnswerError("Valkey does not answer") from error
        return calls.enqueued(answer)

    def enqueue_when_admitted(self, ticket: Ticket, limit: int, admitted_in: str) -> tuple[Any, ...]:
        """The command of `enqueue`, to be sent right behind the one that admits the request.

        The request is taken only where the hash `admitted_in` has it. `calls.enqueued` reads the answer. Both keys must
        be of one server.
        """
        keys = self.keys(ticket.deployment)
        return (
            "EVALSHA",
            self._enqueue.sha,
            len(keys.fair) + 1,
            *keys.fair,
            admitted_in,
            *calls.enqueue(keys, ticket, limit),
        )

    def next_pull(self) -> str:
        """A number for `take` that no other pull has."""
        return next(self._numbers)

    async def take(
        self,
        deployment: str,
        replica: str,
        number: str,
        *,
        room: int,
        express: int = 0,
        tokens: int = ANY_TOKENS,
        idle_ms: int = 0,
        read: Sequence[bytes] = (),
    ) -> Pulled:
        """Requests in the order of the queue; they belong to `replica` from now on.

        Up to `room`, and none any more once their prompts have used up `tokens`; then up to `express` more while the
        tenant whose turn it is runs nothing, or less than half of its part of what runs. Where room is left and nobody
        waits, a request that comes within `idle_ms` may be put into the stream `DeploymentKeys.work`, the replica's as
        if it had been taken; `read` are the entries of it that have been accepted. After an error, ask again
        with the same `number`: what the lost answer held comes again, and nothing is lost.
        """
        keys = self.keys(deployment)
        arguments = calls.pull(
            keys, replica, number, room=room, express=express, tokens=tokens, idle_ms=idle_ms, read=read
        )
        return calls.pulled(await self._run(self._pull, keys, arguments))

    async def pull(self, deployment: str, replica: str, room: int) -> list[bytes]:
        """Up to `room` payloads (`wire.Ticket`) in the order of the queue; they belong to `replica` from now on."""
        return (await self.take(deployment, replica, self.next_pull(), room=room)).payloads

    async def cancel(self, deployment: str, tenant: str, request_id: str, end: str = "") -> str | None:
        """Stop a request: its replica's id when one was running it, "" when it was waiting, None when it is over."""
        keys = self.keys(deployment)
        answer = await self._cancel(keys.fair, calls.cancel(keys, request_id, end=end))
        return None if answer is None else answer.decode()

    async def requeue(self, ticket: Ticket, lost_replica: str) -> bool:
        """Put a lost replica's request back into its place; False when the request is no longer that replica's."""
        keys = self.keys(ticket.deployment)
        return bool(await self._requeue(keys.fair, calls.requeue(keys, ticket, lost_replica)))

    async def charge(self, deployment: str, used: Mapping[str, Usage]) -> None:
        """Charge tenants for what their running requests have used so far (cumulative: twice changes nothing)."""
        await self.send({}, deployment=deployment, used=used)

    async def status(
        self, deployment: str, tenant: str, *, weight: float = 1.0, band: int = 0
    ) -> TenantStatus:
        """What a tenant may know of a queue: its own requests, its share, its expected waits."""
        keys = self.keys(deployment)
        arguments = calls.status(keys, tenant, weight=weight, band=band)
        return calls.status_from(await self._status(keys.fair, arguments))

    async def account(self, note: UsageNote, mark: str = "") -> None:
        """Write a request's usage record, and only then charge the rest and forget the request.

        `mark` is the record's entry in a journal.
        """
        await self.account_all([(note, mark)])

    async def account_all(self, marked: Sequence[tuple[UsageNote, str]]) -> None:
        """As `account`, for several requests in one round trip."""
        await self.send({}, notes=marked)

    async def send(
        self,
        boxes: dict[str, list[Frame]],
        *,
        notes: Sequence[tuple[UsageNote, str]] = (),
        deployment: str = "",
        used: Mapping[str, Usage] | None = None,
    ) -> set[str]:
        """One message per web process with all its frames; returns the web processes that no longer exist.

        In the same round trip, and before any of the frames: `notes` are accounted for (see `account`), and `used` of
        `deployment`'s requests is charged. A client that has its answer may send its next request at once: what the
        last one used must have been charged by then, or it would wait behind a neighbour for a charge that comes late.
        Raises RedisError; all of it may be sent again then.
        """
        records = [_record(note, mark) for note, mark in notes]
        made = [(self._finish, self.keys(note.deployment_id), note) for note, _ in notes]
        scripts = [(script, keys, calls.finish(keys, note)) for script, keys, note in made]
        if used:
            keys = self.keys(deployment)
            scripts += [(self._charge, keys, arguments) for arguments in calls.charge(keys, used)]
        webs = list(boxes)
        frames = [_message(web, boxes[web]) for web in webs]
        answers = await self.client.ask([*records, *(_evaluation(*script) for script in scripts), *frames])
        sent = answers[len(records) + len(scripts) :]
        _raise_first([*answers[: len(records)], *sent])
        for (script, keys, arguments), answer in zip(scripts, answers[len(records) :], strict=False):
            if isinstance(answer, NoScriptError):
                await script(keys.fair, arguments)  # a new or restarted server
            elif isinstance(answer, Exception):
                raise answer
        return {web for web, answer in zip(webs, sent, strict=True) if answer is None}

    async def beat(self, key: str, field: str, facts: dict[str, Any]) -> int:
        """Write a heartbeat stamped with Valkey's clock; returns that clock, ms."""
        head = msgspec.json.encode(facts)[:-1]
        head += b"," if len(head) > 1 else b""
        return int(await self._beat([key], [field, head]))

    async def beats(self, key: str) -> dict[str, dict[str, Any]]:
        """All heartbeats of a hash, each with `age_ms` by Valkey's clock."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.hgetall(key)
        pipeline.time()
        found, (seconds, micros) = await pipeline.execute()
        now_ms = seconds * 1000 + micros // 1000
        return {name.decode(): with_age(value, now_ms) for name, value in found.items()}

    async def _run(self, script: Any, keys: DeploymentKeys, arguments: list[Any]) -> Any:
        (answer,) = await self.client.ask((_evaluation(script, keys, arguments),))
        if isinstance(answer, NoScriptError):
            return await script(keys.fair, arguments)  # loads it
        if isinstance(answer, Exception):
            raise answer
        return answer


def _evaluation(script: Any, keys: DeploymentKeys, arguments: list[Any]) -> tuple[Any, ...]:
    """By digest: redis-py's scripts in a pipeline ask first whether the server has them, one more round trip."""
    return ("EVALSHA", script.sha, len(keys.fair), *keys.fair, *arguments)


def _record(note: UsageNote, mark: str) -> tuple[Any, ...]:
    """The command that puts a usage record on its way."""
    kept = ("j", mark) if mark else ()
    return ("XADD", USAGE, "MAXLEN", "~", USAGE_LENGTH, "*", "r", encode_usage(note), *kept)


def _message(web: str, frames: list[Frame]) -> tuple[Any, ...]:
    """The command that sends frames to a web process; answered with None when that is gone."""
    return ("XADD", outbox(web), "NOMKSTREAM", "MAXLEN", "~", OUTBOX_LENGTH, "*", "f", encode_frames(frames))


def _raise_first(answers: list[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def with_age(value: bytes, now_ms: int) -> dict[str, Any]:
    """One heartbeat with `age_ms`, the time since it was written."""
    facts: dict[str, Any] = msgspec.json.decode(value)
    facts["age_ms"] = now_ms - facts.get("at_ms", 0)
    return facts


__all__ = ["Pulled", "QueueFull", "RequestQueue", "TenantStatus", "with_age"]
