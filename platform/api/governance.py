"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext_lazy as _

from api.models import IdempotencyRecord
from core import clock
from core.governance import DataClass, Removed, register
from core.scoping import platform_scope


def forgotten(*, dry_run: bool) -> Iterator[Removed]:
    """The retention rule of kept answers: those whose day is over."""
    removed = Removed(store=IdempotencyRecord._meta.db_table)
    with platform_scope("governance.retention"):
        old = IdempotencyRecord.objects.filter(expires_at__lt=clock.now())
        removed.add(old.count() if dry_run else old.delete()[0], None, None, 0)
    yield removed


def declare() -> None:
    """Put them into the catalogue."""
    register(
        DataClass(
            name="idempotency",
            title=_("Answers to repeated requests"),
            holds=_("Encrypted answers to POST requests that carried an Idempotency-Key."),
            retained=_("A day."),
            models=("api.IdempotencyRecord",),
            exported=False,
            retain=forgotten,
        )
    )
