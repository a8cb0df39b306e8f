"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.sessions.models import Session
from django.utils.translation import gettext_lazy as _

from core import clock
from core.governance import DataClass, Removed, register


def ended_sessions(*, dry_run: bool) -> Iterator[Removed]:
    """The retention rule of sessions: those that have ended."""
    old = Session.objects.filter(expire_date__lt=clock.now())
    removed = Removed(store=Session._meta.db_table)
    removed.add(old.count() if dry_run else old._raw_delete(old.db), None, None, 0)
    yield removed


def declare() -> None:
    """Put them into the catalogue."""
    register(
        DataClass(
            name="accounts",
            title=_("People's accounts"),
            holds=_("E-mail address, name, language and password hash of a person; sessions."),
            retained=_("As long as the person wants; sessions until they end."),
            models=("accounts.User",),
            kept=_("An account is the person's own and may belong to several tenants."),
            exported=False,
            retain=ended_sessions,
        )
    )
