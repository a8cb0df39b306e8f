"""The event loop's way to Valkey: one connection that all callers share, with nothing between a command and the socket.

redis-py takes a connection out of a pool, locks, times and measures each command: about 0.3 ms of processor time, more
than all else that a request costs here (docs/adr/0023 has the figures). A `LinkedClient` is its client, with all its
commands, whose commands travel over a `Link`: they are written as they come, and answers are told apart by their order.
redis-py connects, signs in and encrypts; the connection is taken over from it afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis
import redis.asyncio
from redis.asyncio.connection import DefaultParser
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as NoAnswerError

RETRIES = 6
BACKOFF = ExponentialBackoff(cap=0.5, base=0.02)


class _Asked:
    """Commands that were written together, and the answers that have come."""

    __slots__ = ("answers", "count", "due", "future")

    def __init__(self, future: asyncio.Future[list[Any]], count: int, due: float) -> None:
        self.future = future
        self.count = count
        self.due = due
        self.answers: list[Any] = []


class Link(asyncio.Protocol):
    """One connection to Valkey. Commands of any number of callers are in flight at once, answered in order.

    A server that leaves a command unanswered for `answer_s` is hung up on; everything in flight fails with it then.
    """

    def __init__(self, answer_s: float) -> None:
        self._answer_s = answer_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=DefaultParser.parse_error)
        self._asked: deque[_Asked] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._transport: Any = None
        self._space: asyncio.Event = asyncio.Event()
        self._space.set()
        self.closed = False

    async def open(self, pool: redis.asyncio.ConnectionPool) -> Link:
        """Connect as `pool` would. Raises RedisError."""
        connection: Any = pool.make_connection()
        try:
            await connection.connect()
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # Before Python 3.12, wait_for, which redis-py connects with, may lose a cancellation.
                raise asyncio.CancelledError
        except BaseException:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)
            raise
        # The connection has answered its last greeting: nothing is on the way that its own reader would miss.
        # Its writer is kept, whose end would close the socket.
        self._writer, connection._reader, connection._writer = connection._writer, None, None
        self._transport = self._writer.transport
        self._transport.set_protocol(self)
        return self

    async def ask(self, packed: bytes, count: int) -> list[Any]:
        """Write `count` packed commands and wait for as many answers; an error is an answer like any other.

        Raises LostError or NoAnswerError when the connection ends first: whether the commands ran is unknown then.
        """
        if self.closed or self._transport is None:
            raise LostError("the connection to Valkey was closed")
        if not self._space.is_set():
            await self._space.wait()
            if self.closed:
                raise LostError("the connection to Valkey was closed")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        self._asked.append(_Asked(future, count, self._loop.time() + self._answer_s))
        self._transport.write(packed)
        if self._timer is None:
            self._timer = self._loop.call_later(self._answer_s, self._look)
        return await future

    def close(self, error: Exception | None = None) -> None:
        """Hang up. What is in flight fails with `error`."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._space.set()
        if self._transport is not None:
            self._transport.abort()
        failed, self._asked = self._asked, deque()
        for asked in failed:
            if not asked.future.done():
                asked.future.set_exception(error or LostError("the connection to Valkey was closed"))

    def _look(self) -> None:
        self._timer = None
        if not self._asked:
            return
        left = self._asked[0].due - self._loop.time()
        if left <= 0:
            self.close(NoAnswerError(f"Valkey did not answer within {self._answer_s:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._look)

    # --- What the transport calls

    def data_received(self, data: bytes) -> None:
        """Hand answers to those who asked."""
        reader = self._reader
        reader.feed(data)
        try:
            while self._asked:
                answer = reader.gets()
                if answer is False:
                    return
                asked = self._asked[0]
                asked.answers.append(answer)
                if len(asked.answers) == asked.count:
                    self._asked.popleft()
                    if not asked.future.done():  # done: its caller was cancelled
                        asked.future.set_result(asked.answers)
        except RedisError as error:
            self.close(LostError(f"Valkey's answer cannot be read: {error}"))

    def eof_received(self) -> bool:
        """The server hangs up."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The server or the network has ended it."""
        self.close(LostError(f"the connection to Valkey was lost: {exc or 'closed by the server'}"))

    def pause_writing(self) -> None:
        """More is on its way than the socket takes."""
        self._space.clear()

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._space.set()


class LinkedClient(redis.asyncio.Redis):
    """redis-py's client over links. `answer_s`: how long the server may leave a command unanswered.

    A lost connection is made anew, and what was in flight is sent again, up to RETRIES times over about two seconds:
    a command may run twice, so callers number what they write. With `exclusive` each call in flight has a link of its
    own: for commands that block. WATCH and subscriptions need a connection of their own and are not offered.
    """

    _answer_s: float
    _exclusive: bool
    _link: Link | None
    _idle: list[Link]
    _opening: asyncio.Task[Link] | None

    @classmethod
    def over(
        cls, pool: redis.asyncio.ConnectionPool, *, answer_s: float, exclusive: bool = False
    ) -> LinkedClient:
        """A client that connects as `pool` does, and closes it with itself."""
        client: LinkedClient = cls.from_pool(pool)  # type: ignore[assignment]
        client._answer_s = answer_s
        client._exclusive = exclusive
        client._link, client._idle, client._opening = None, [], None
        return client

    # --- What redis-py's commands come down to

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run one command; its answer as redis-py gives it. Raises RedisError."""
        (answer,) = await self.ask((args,))
        if isinstance(answer, Exception):
            raise answer
        return self.answered(args[0], answer, options)

    def answered(self, name: Any, answer: Any, options: Mapping[str, Any]) -> Any:
        """An answer in the form that redis-py's commands promise."""
        callback = self.response_callbacks.get(name)
        if callback is None:
            return answer
        return callback(answer, **{name: value for name, value in options.items() if name != "keys"})

    async def ask(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Run commands in order, in one round trip; raw answers, errors among them. Raises RedisError."""
        packed = b"".join(map(pack, commands))
        failures = 0
        while True:
            try:
                answers = await self._once(packed, len(commands))
                lost = next((answer for answer in answers if isinstance(answer, LostError)), None)
                if lost is None:
                    return answers
                raise lost  # "LOADING": the server begins anew
            except (LostError, NoAnswerError):
                failures += 1
                if failures > RETRIES:
                    raise
            await asyncio.sleep(BACKOFF.compute(failures))

    async def read_streams(
        self, after: Mapping[str, Any], *, block_ms: int, count: int
    ) -> list[tuple[bytes, list[tuple[bytes, list[bytes]]]]]:
        """XREAD as the server answers it: per stream its entries, each an id and its fields and values in a row.

        Empty when nothing came within `block_ms`. Raises RedisError.
        """
        names = list(after)
        (answer,) = await self.ask(
            (
                (
                    "XREAD",
                    "COUNT",
                    count,
                    "BLOCK",
                    block_ms,
                    "STREAMS",
                    *names,
                    *(after[name] for name in names),
                ),
            )
        )
        if isinstance(answer, Exception):
            raise answer
        return answer or []

    async def _once(self, packed: bytes, count: int) -> list[Any]:
        if not self._exclusive:
            link = self._link
            if link is None or link.closed:
                link = await self._shared()
            return await link.ask(packed, count)
        link = self._idle.pop() if self._idle else await self._new()
        try:
            answers = await link.ask(packed, count)
        except BaseException:
            link.close()  # its answer may still come, and would be taken for the next one's
            raise
        if not link.closed:
            self._idle.append(link)
        return answers

    async def _shared(self) -> Link:
        """The link of all callers; whoever comes first makes it, and no caller's end keeps it from the others."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._new())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[Link]) -> None:
        # In the very step in which it is there: who comes next must find it, or make another.
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._link = opening.result()

    async def _new(self) -> Link:
        return await Link(self._answer_s).open(self.connection_pool)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Hang up all links, and close the pool."""
        if self._opening is not None:
            self._opening.cancel()
        for link in (self._link, *self._idle):
            if link is not None:
                link.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the loop closes an aborted socket in its next turn, which may be its last
        await super().aclose(close_connection_pool)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> LinkedPipeline:
        """As redis-py's; nothing of it can be watched."""
        return LinkedPipeline(self, transaction)


class LinkedPipeline(redis.asyncio.client.Pipeline):
    """Commands that travel together; with `transaction` nothing of others runs in between."""

    def __init__(self, client: LinkedClient, transaction: bool) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, None)
        self._client = client

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Take a command along."""
        if args[0] == "WATCH":
            raise RedisError("WATCH needs a connection of its own")
        return self.pipeline_execute_command(*args, **options)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run all. Raises RedisError; with `raise_on_error` also for the first command that failed."""
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        if self.scripts:
            raise RedisError("scripts are called by their digest here")
        commands = [args for args, _ in stack]
        if self.is_transaction or self.explicit_transaction:
            raw = (await self._client.ask([("MULTI",), *commands, ("EXEC",)]))[-1]
            if isinstance(raw, Exception):
                raise raw
        else:
            raw = await self._client.ask(commands)
        if raise_on_error:
            self.raise_first_error(stack, raw)
        return [
            answer if isinstance(answer, ResponseError) else self._client.answered(args[0], answer, options)
            for (args, options), answer in zip(stack, raw, strict=True)
        ]


def pack(command: Sequence[Any]) -> bytes:
    """A command as the server reads it (RESP). "SCRIPT LOAD" counts as two words."""
    name = command[0]
    if isinstance(name, str) and " " in name:
        command = (*name.split(), *command[1:])
    try:
        return hiredis.pack_command(tuple(command))
    except TypeError as error:
        raise redis.exceptions.DataError(f"A value cannot be sent to Valkey: {error}") from None
