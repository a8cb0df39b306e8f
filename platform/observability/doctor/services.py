"""Valkey (or Redis) and the Celery workers behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery import current_app
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from core.valkey import sync_client
from observability.doctor.findings import Finding

MIN_VERSION = 7
PING_TIMEOUT_S = 1.5


def check_valkey() -> Iterator[Finding]:
    """Reachable, new enough, written to disk, and never throwing away what it was told to keep."""
    area = "valkey"
    client = sync_client()
    try:
        info: dict[str, Any] = client.info()
    except RedisError as error:
        yield Finding(
            "problem",
            area,
            _("Valkey cannot be reached: %(error)s") % {"error": str(error)},
            _("Start it, or correct REDIS_URL. `make run` starts an embedded one."),
        )
        return
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version") or "0")
    if int(version.split(".")[0]) < MIN_VERSION:
        yield Finding(
            "problem",
            area,
            _("%(name)s %(version)s is too old.") % {"name": name, "version": version},
            _("Use Valkey, or Redis %(minimum)d or newer.") % {"minimum": MIN_VERSION},
        )
    else:
        yield Finding("ok", area, _("%(name)s %(version)s answers.") % {"name": name, "version": version})
    if info.get("aof_enabled"):
        yield Finding("ok", area, _("It keeps an append-only file."))
    else:
        yield Finding(
            "warning",
            area,
            _("It keeps no append-only file: requests in flight are lost when it restarts."),
            _("Set `appendonly yes` in its configuration."),
        )
    policy = str(info.get("maxmemory_policy", ""))
    if policy == "noeviction":
        yield Finding("ok", area, _("It never evicts a key."))
    else:
        yield Finding(
            "problem",
            area,
            _("Its maxmemory-policy is %(policy)s: under pressure it throws queues and usage away.")
            % {"policy": policy or "?"},
            _("Set `maxmemory-policy noeviction` in its configuration."),
        )


def check_celery() -> Iterator[Finding]:
    """Which workers answer. None is fine before the platform has been started."""
    area = "celery"
    answers = current_app.control.ping(timeout=PING_TIMEOUT_S) or []
    nodes = sorted(name for answer in answers for name in answer)
    if nodes:
        yield Finding(
            "ok",
            area,
            _("%(count)d workers answer: %(names)s.") % {"count": len(nodes), "names": ", ".join(nodes)},
        )
    else:
        yield Finding(
            "warning",
            area,
            _("No Celery worker answers: models are not served and jobs are not done."),
            _("Start the platform with `make run`, or its workers one by one (docs/architecture.md)."),
        )
