"""Answers while they are being written, in Valkey: what has been produced is there before a client sees it.

One hash per answer holds its batches (text and token ids, numbered) and its writer; one short-lived key says
that the writer lives. Whoever claims an answer fences the writer before it: late batches of that one are
refused. Both keys carry the tenant's id as hash tag. The database takes the whole over when the answer ends
(services.close).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
import redis.asyncio

from core.valkey import async_client

PARTIAL_TTL_S = 24 * 3600
# A writer renews its sign of life every LEASE_RENEW_S; without one for LEASE_S it counts as dead.
LEASE_S = 4.0
LEASE_RENEW_S = 1.0
NAME_TTL_S = 60

# KEYS: answer, lease. ARGV: writer, answer's life (s), lease (ms). Takes the answer over and returns all of
# it.
_CLAIM = """
redis.call('HSET', KEYS[1], 'writer', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return redis.call('HGETALL', KEYS[1])
"""

# KEYS as above. ARGV: writer, answer's life (s), lease (ms) [, batch number, batch, 1 when the batch is the whole
# answer]. 1 written, 0 fenced, -1 lost.
_WRITE = """
local writer = redis.call('HGET', KEYS[1], 'writer')
if not writer then return -1 end
if writer ~= ARGV[1] then return 0 end
if ARGV[4] then
  if ARGV[6] == '1' then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'writer', writer)
  end
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return 1
"""

# KEYS as above. ARGV: writer, how long its name stays (s). Removes the answer, unless somebody else writes it by
# now. The name stays for a while, so that an earlier writer who wakes up late does not find the place empty.
_RELEASE = """
local writer = redis.call('HGET', KEYS[1], 'writer')
if writer and writer ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'writer', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


class Fenced(Exception):
    """Another connection goes on with this answer; nothing more of it may be kept or shown by this one."""


class Lost(Exception):
    """Valkey has no trace of the answer (it was restarted without its file): write it again as a whole."""


class Batch(msgspec.Struct, array_like=True):
    """What one write adds: text, and the ids of the tokens behind it."""

    text: str
    tokens: list[int]


@dataclass(slots=True)
class Partial:
    """The part of an answer that exists: its text, its tokens, and the number that the next batch gets.

    `is_stored` is false for a part that Valkey does not have (the database does): whoever goes on with it writes
    the whole of it there first, or a crash would leave the continuation without its beginning.
    """

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    next_batch: int = 0
    is_stored: bool = True


def furthest(found: Partial, kept: Partial) -> Partial:
    """Of what Valkey has of an answer and what the database has, that which goes further."""
    if (len(found.tokens), len(found.text)) >= (len(kept.tokens), len(kept.text)):
        return found
    return Partial(kept.text, list(kept.tokens), is_stored=False)


_decoder = msgspec.msgpack.Decoder(Batch)
_encoder = msgspec.msgpack.Encoder()


class PartialStore:
    """Reads and writes unfinished answers."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._claim = client.register_script(_CLAIM)
        self._write = client.register_script(_WRITE)
        self._release = client.register_script(_RELEASE)

    async def claim(self, tenant_id: UUID, message_id: UUID, writer: UUID) -> Partial:
        """Become the writer of an answer; every writer before is fenced from now on.

        Returns what they left.
        """
        flat = await self._claim(
            keys=_keys(tenant_id, message_id), args=[str(writer), PARTIAL_TTL_S, int(LEASE_S * 1000)]
        )
        return _partial(dict(zip(flat[::2], flat[1::2], strict=True)))

    async def write(
        self,
        tenant_id: UUID,
        message_id: UUID,
        writer: UUID,
        number: int,
        text: str,
        tokens: Sequence[int],
        *,
        whole: bool = False,
    ) -> None:
        """Keep one batch: one round trip, idempotent by `number`. Raises Fenced, Lost, or RedisError.

        `whole`: it takes the place of every batch that there is.
        """
        batch = _encoder.encode(Batch(text, list(tokens)))
        await self._put(tenant_id, message_id, writer, [number, batch, int(whole)])

    async def renew(self, tenant_id: UUID, message_id: UUID, writer: UUID) -> None:
        """Give a sign of life. Raises Fenced, Lost, or RedisError."""
        await self._put(tenant_id, message_id, writer, [])

    async def _put(self, tenant_id: UUID, message_id: UUID, writer: UUID, batch: list[Any]) -> None:
        outcome = await self._write(
            keys=_keys(tenant_id, message_id),
            args=[str(writer), PARTIAL_TTL_S, int(LEASE_S * 1000), *batch],
        )
        if outcome == 0:
            raise Fenced
        if outcome == -1:
            raise Lost

    async def release(self, tenant_id: UUID, message_id: UUID, writer: UUID) -> None:
        """Forget an answer that the database has by now; does nothing when somebody else writes it."""
        await self._release(keys=_keys(tenant_id, message_id), args=[str(writer), NAME_TTL_S])

    async def read(self, tenant_id: UUID, message_id: UUID) -> tuple[Partial, bool]:
        """What there is of an answer, and whether its writer lives. Two reads in one round trip."""
        answer, lease = _keys(tenant_id, message_id)
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.hgetall(answer)
            pipe.exists(lease)
            fields, alive = await pipe.execute()
        return _partial(fields), bool(alive)


_stores: WeakKeyDictionary[asyncio.AbstractEventLoop, PartialStore] = WeakKeyDictionary()


def store() -> PartialStore:
    """The store of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _stores.get(loop)
    if found is None:
        found = _stores[loop] = PartialStore(async_client())
    return found


def _keys(tenant_id: UUID, message_id: UUID) -> list[str]:
    base = f"atrium:{{{tenant_id}}}:chat:{message_id}"
    return [base, f"{base}:alive"]


def _partial(fields: dict[bytes, bytes]) -> Partial:
    numbered = sorted((int(name), value) for name, value in fields.items() if name != b"writer")
    batches = [_decoder.decode(value) for _, value in numbered]
    return Partial(
        text="".join(batch.text for batch in batches),
        tokens=[token for batch in batches for token in batch.tokens],
        next_batch=numbered[-1][0] + 1 if numbered else 0,
    )
