"""PostgreSQL: reachable, new enough, a runtime role that the walls bind, and every wall up."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from django.utils.translation import gettext as _

from core import clock
from core.checks import own_models, walls_stand
from observability.doctor.findings import Finding
from observability.health import migrations_are_applied

AREA = "database"
MIN_VERSION = 16
MAX_CLOCK_SKEW_S = 2.0


def check_database() -> Iterator[Finding]:
    """All that concerns the database; what needs it is skipped, and said, when it cannot be reached."""
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        yield Finding(
            "problem",
            AREA,
            _("PostgreSQL cannot be reached: %(error)s") % {"error": str(error).strip().split("\n")[0]},
            _("Start it, or correct DATABASE_URL. `make run` starts an embedded one."),
        )
        return
    yield from _check_version()
    yield from _check_platform_role()
    if not migrations_are_applied():
        yield Finding(
            "problem",
            AREA,
            _("Migrations are missing: the tables are older than this code."),
            _("Run `manage.py migrate --database owner` with DATABASE_OWNER_URL set."),
        )
    else:
        yield Finding("ok", AREA, _("All migrations are applied."))
    yield from _check_walls()
    yield from _check_owner_url()
    yield from _check_clock()


def _check_version() -> Iterator[Finding]:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        number = int(cursor.fetchone()[0])
    version = f"{number // 10_000}.{number % 10_000}"
    if number // 10_000 < MIN_VERSION:
        yield Finding(
            "problem",
            AREA,
            _("PostgreSQL %(version)s is too old.") % {"version": version},
            _("Use PostgreSQL %(minimum)d or newer.") % {"minimum": MIN_VERSION},
        )
    else:
        yield Finding("ok", AREA, _("PostgreSQL %(version)s answers.") % {"version": version})


def _check_platform_role() -> Iterator[Finding]:
    role = settings.DATABASE_PLATFORM_ROLE
    try:
        with transaction.atomic(), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(f'SET LOCAL ROLE "{role}"')
            cursor.execute("SELECT current_user")
            reached = cursor.fetchone()[0] == role
            cursor.execute("SET LOCAL ROLE NONE")
            cursor.execute(
                "SELECT inherit_option FROM pg_auth_members"
                " WHERE roleid = %s::regrole AND member = current_user::regrole",
                [role],
            )
            inherits = any(row[0] for row in cursor.fetchall())
    except DatabaseError:
        reached = inherits = False
    grant = _("As a superuser: GRANT %(role)s TO %(user)s WITH INHERIT FALSE, SET TRUE;") % {
        "role": role,
        "user": settings.DATABASE_RUNTIME_ROLE,
    }
    if not reached:
        yield Finding(
            "problem",
            AREA,
            _("The platform role %(role)s cannot be entered: operators and jobs will fail.") % {"role": role},
            grant,
        )
    elif inherits:
        yield Finding(
            "problem",
            AREA,
            _("The application inherits the rights of %(role)s without entering it: no wall binds it.")
            % {"role": role},
            grant,
        )
    else:
        yield Finding("ok", AREA, _("The platform role is entered on purpose only."))


def _check_walls() -> Iterator[Finding]:
    errors = list(walls_stand(databases=[DEFAULT_DB_ALIAS]))
    for error in errors:
        yield Finding("problem", AREA, str(error.msg), str(error.hint or ""))
    if not errors:
        yield Finding(
            "ok",
            AREA,
            _("Row-level security stands on all %(count)d walled tables, and binds the application's role.")
            % {"count": len(own_models("tenant", "shared"))},
        )


def _check_owner_url() -> Iterator[Finding]:
    owner = settings.DATABASES.get("owner")
    if owner and owner.get("USER") == settings.DATABASES[DEFAULT_DB_ALIAS].get("USER"):
        yield Finding(
            "problem",
            AREA,
            _("DATABASE_OWNER_URL and DATABASE_URL name the same role."),
            _("Give the owner of the tables a role of its own, used for migrations only."),
        )


def _check_clock() -> Iterator[Finding]:
    before = clock.now()
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        theirs = cursor.fetchone()[0]
    after = clock.now()
    skew_s = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    if skew_s > MAX_CLOCK_SKEW_S:
        yield Finding(
            "warning",
            "clock",
            _("This machine's clock and the database's differ by %(seconds).1f s.") % {"seconds": skew_s},
            _("Keep both in step with NTP: expiry and billing periods depend on it."),
        )
    else:
        yield Finding("ok", "clock", _("This machine's clock and the database's agree."))
