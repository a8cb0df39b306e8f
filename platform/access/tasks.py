"""Scheduled work on API keys."""

from __future__ import annotations

from celery import shared_task

from access.services import usage


@shared_task(name="access.flush_key_use")
def flush_key_use() -> None:
    """Bring the times of last use from Valkey to the database, for all tenants."""
    usage.flush()
