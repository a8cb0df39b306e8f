"""Clients of Valkey (or Redis ≥ 7). Never the only copy of money or of anything that must outlive it."""

from __future__ import annotations

from functools import lru_cache

import redis
import redis.asyncio
import redis.exceptions
from django.conf import settings
from redis.backoff import ExponentialBackoff
from redis.retry import Retry


@lru_cache(maxsize=1)
def sync_client() -> redis.Redis:
    """The process-wide blocking client: for services and Celery tasks, never for an event loop."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2)


def async_client(*, max_connections: int = 64, blocking_read: bool = False) -> redis.asyncio.Redis:
    """A new asyncio client, bound to the running loop's lifetime by its owner.

    The pool waits for a free connection instead of raising. A `blocking_read` client has no read time-out
    of its own: its commands block on purpose. Retries follow the server through a restart of a few seconds;
    a command that is not idempotent may be run twice then, so callers number what they write.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=max_connections,
        timeout=10,
        socket_timeout=15 if blocking_read else 5,
        socket_connect_timeout=2,
        retry=redis.asyncio.retry.Retry(ExponentialBackoff(cap=0.5, base=0.02), 6),
        retry_on_error=[
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            redis.exceptions.BusyLoadingError,
        ],
    )
    return redis.asyncio.Redis.from_pool(pool)  # closes the pool with itself


__all__ = ["Retry", "async_client", "sync_client"]
