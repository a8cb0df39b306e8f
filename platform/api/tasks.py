"""Background work of the REST plumbing."""

from __future__ import annotations

from celery import shared_task

from api import idempotency
from core.scoping import platform_scope


@shared_task(name="api.forget_idempotency_keys")
def forget_idempotency_keys() -> None:
    """Remove kept answers that are older than a day."""
    with platform_scope("api.forget_idempotency_keys"):
        idempotency.forget_expired()
