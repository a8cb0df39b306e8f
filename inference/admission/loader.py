"""Brings the scripts into the server that answers, each time that it is another one, and calls them by digest.

SECURITY: the epoch must be that of the very server that gets the texts, so both commands go over one connection that
never reconnects in between. `register_script` of redis-py would send an old text to a new server: not used here.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import redis
import structlog
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as NoAnswerError

from core.valkey_link import BACKOFF, RETRIES, LinkedClient
from inference.admission import scripts
from inference.admission.keys import EPOCH, TenantKeys

log = structlog.get_logger(__name__)

_RUN_ID = re.compile(rb"\brun_id:([0-9a-zA-Z]+)")
MOST_LOADS = 5
# A server that takes connections and says nothing is given up after this long, whatever the client's retries add up to.
ANSWER_S = 20.0
encode = msgspec.msgpack.Encoder().encode

Call = tuple[str, TenantKeys, Any]  # script, whose keys, arguments


def _epoch_in(info: Any) -> str:
    found = _RUN_ID.search(info if isinstance(info, bytes) else str(info).encode())
    if found is None:
        raise RedisError("the server does not tell its run_id")
    return found.group(1).decode()


class Then(NamedTuple):
    """A command that says something of one memory, and of which: it is not sent to another."""

    command: Sequence[Any]
    epoch: str


class AsyncScripts:
    """The scripts for one event loop. `on_epoch` is called after each change of the server, first load included."""

    def __init__(
        self,
        client: LinkedClient,
        *,
        on_epoch: Callable[[], None] = lambda: None,
        clock: str = scripts.CLOCK,
    ) -> None:
        self.client = client
        self.epoch = ""
        self._clock = clock
        self._digests: dict[str, str] = {}
        self._loading: asyncio.Task[None] | None = None
        self._on_epoch = on_epoch

    async def call(self, name: str, keys: TenantKeys, arguments: Any) -> Any:
        """Run one script. One round trip, unless the server is a new one. Raises RedisError."""
        return (await self.calls([(name, keys, arguments)]))[0]

    async def calls(
        self,
        calls: Sequence[Call],
        *,
        seen: dict[str, float] | None = None,
        then: Then | None = None,
    ) -> list[Any]:
        """Run scripts in order, in one round trip; `seen` are tenants to be noted as active in the same one.

        The command `then` follows in the same round trip too, and its answer, which may be an error, is the last; there
        is none when the server had changed. When a script was not there all scripts are run again, which is safe.
        Raises RedisError, after ANSWER_S at the latest.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._calls(calls, seen, then)
        except TimeoutError as error:
            raise redis.exceptions.TimeoutError("Valkey does not answer") from error

    async def _calls(
        self, calls: Sequence[Call], seen: dict[str, float] | None, then: Then | None
    ) -> list[Any]:
        commands = [(name, keys.all, encode(arguments)) for name, keys, arguments in calls]
        for _ in range(MOST_LOADS):
            digests, epoch = self._digests, self.epoch
            if digests:
                follows = (then.command,) if then is not None and then.epoch == epoch else ()
                answers = await self._run(digests, commands, seen, follows)
                own = answers[: len(commands)]
                if not any(isinstance(answer, NoScriptError) for answer in own):
                    for answer in own:
                        if isinstance(answer, Exception):
                            raise answer
                    return answers
            await self._load(epoch)
        raise RedisError("the server forgets its scripts again and again")

    async def _run(
        self,
        digests: dict[str, str],
        commands: list[tuple[str, list[str], bytes]],
        seen: dict[str, float] | None,
        follows: Sequence[Sequence[Any]],
    ) -> list[Any]:
        asked: list[Sequence[Any]] = [
            ("EVALSHA", digests[name], len(keys), *keys, payload) for name, keys, payload in commands
        ]
        asked += follows
        if seen:
            asked.append(
                ("ZADD", "atrium:admission:tenants", *(part for each in seen.items() for part in each[::-1]))
            )
        return (await self.client.ask(asked))[: len(commands) + len(follows)]

    async def age_ms(self) -> int:
        """For how long the server's memory has been in use. Raises RedisError."""
        return int(await self._plain("age", [EPOCH]))

    async def confirm(self) -> None:
        """Notice a new server even when nothing is admitted. Raises RedisError while none answers."""
        await self._plain("same", [])

    async def _plain(self, name: str, keys: list[str]) -> Any:
        for _ in range(MOST_LOADS):
            digests, epoch = self._digests, self.epoch
            if digests:
                try:
                    return await self.client.evalsha(digests[name], len(keys), *keys)
                except NoScriptError:
                    pass
            await self._load(epoch)
        raise RedisError("the server forgets its scripts again and again")

    async def _load(self, stale: str) -> None:
        """Bring the scripts in, unless somebody else has. Whoever comes first does it for all who wait, and no
        caller's end keeps it from the others."""
        if self.epoch != stale and self._digests:
            return
        if self._loading is None:
            self._loading = asyncio.create_task(self._loaded())
            self._loading.add_done_callback(self._load_ended)
        await asyncio.shield(self._loading)

    def _load_ended(self, loading: asyncio.Task[None]) -> None:
        self._loading = None
        if not loading.cancelled():
            loading.exception()  # told to whoever waits; if nobody does any more, nobody needs to know

    async def _loaded(self) -> None:
        failures = 0
        while True:
            try:
                return await self._load_once()
            except (LostError, NoAnswerError):
                failures += 1
                if failures > RETRIES:
                    raise
            await asyncio.sleep(BACKOFF.compute(failures))

    async def _load_once(self) -> None:
        connection = self.client.connection_pool.make_connection()
        try:
            await connection.connect()
            await connection.send_command("INFO", "server", check_health=False)
            epoch = _epoch_in(await connection.read_response())
            digests = {}
            for name, text in scripts.texts(epoch, clock=self._clock).items():
                await connection.send_command("SCRIPT", "LOAD", text, check_health=False)
                digest = await connection.read_response()
                digests[name] = digest.decode() if isinstance(digest, bytes) else str(digest)
        finally:
            await connection.disconnect(nowait=True)
        changed = epoch != self.epoch
        self.epoch, self._digests = epoch, digests
        if changed:
            log.info("admission.epoch", epoch=epoch)
            self._on_epoch()


class SyncScripts:
    """The scripts for services and tasks: one per process, any thread."""

    def __init__(self, client: redis.Redis, *, clock: str = scripts.CLOCK) -> None:
        self.client = client
        self.epoch = ""
        self._clock = clock
        self._digests: dict[str, str] = {}
        self._loading = threading.Lock()

    def call(self, name: str, keys: TenantKeys, arguments: Any) -> Any:
        """Run one script. Raises RedisError."""
        return self.calls([(name, keys, arguments)])[0]

    def calls(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts in order, in one round trip, all of them again when one was not there. Raises RedisError."""
        for _ in range(MOST_LOADS):
            digests, epoch = self._digests, self.epoch
            if digests:
                pipeline = self.client.pipeline(transaction=False)
                for name, keys, arguments in calls:
                    pipeline.evalsha(digests[name], len(keys.all), *keys.all, encode(arguments))
                answers = pipeline.execute(raise_on_error=False)
                if not any(isinstance(answer, NoScriptError) for answer in answers):
                    for answer in answers:
                        if isinstance(answer, Exception):
                            raise answer
                    return list(answers)
            self._load(epoch)
        raise RedisError("the server forgets its scripts again and again")

    def confirm(self) -> str:
        """The epoch of the server that answers now. Raises RedisError."""
        for _ in range(MOST_LOADS):
            digests, epoch = self._digests, self.epoch
            if digests:
                try:
                    self.client.evalsha(digests["same"], 0)
                    return epoch
                except NoScriptError:
                    pass
            self._load(epoch)
        raise RedisError("the server forgets its scripts again and again")

    def _load(self, stale: str) -> None:
        with self._loading:
            if self.epoch != stale and self._digests:
                return
            connection = self.client.connection_pool.make_connection()
            try:
                connection.connect()
                connection.send_command("INFO", "server", check_health=False)
                epoch = _epoch_in(connection.read_response())
                digests = {}
                for name, text in scripts.texts(epoch, clock=self._clock).items():
                    connection.send_command("SCRIPT", "LOAD", text, check_health=False)
                    digest: Any = connection.read_response()
                    digests[name] = digest.decode() if isinstance(digest, bytes) else str(digest)
            finally:
                connection.disconnect()
            self.epoch, self._digests = epoch, digests
