"""Work that runs in one process at a time, held by PostgreSQL: a process that is killed lets go with its connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connection


@contextmanager
def alone(number: int) -> Iterator[bool]:
    """True inside when nobody else is there; does not wait. `number` names the work, on the whole platform.

    Held by this thread's database session, not by a transaction. Two statements. Raises OperationalError.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        held = bool(cursor.fetchone()[0])
    try:
        yield held
    finally:
        if held:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
            except (OperationalError, InterfaceError):
                connection.close()  # the lock went with the session, or goes with it now
