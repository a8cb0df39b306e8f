"""Clients of Valkey (or Redis ≥ 7). Never the only copy of money or of anything that must outlive it."""

from __future__ import annotations

from functools import lru_cache

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.valkey_link import LinkedClient


@lru_cache(maxsize=1)
def sync_client() -> redis.Redis:
    """The process-wide blocking client: for services and Celery tasks, never for an event loop."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2)


def async_client(*, blocking_read: bool = False) -> LinkedClient:
    """A new asyncio client, bound to the running loop's lifetime by its owner.

    The commands of a `blocking_read` client block on purpose; each of its calls has a connection of its own. Retries
    follow the server through a restart of a few seconds; a command that is not idempotent may be run twice then, so
    callers number what they write.
    """
    pool = redis.asyncio.ConnectionPool.from_url(
        settings.REDIS_URL,
        protocol=2,
        socket_timeout=5,
        socket_connect_timeout=2,
        retry=Retry(NoBackoff(), 0),  # the client itself tries again
    )
    return LinkedClient.over(pool, answer_s=15.0 if blocking_read else 5.0, exclusive=blocking_read)
