"""Retention: every class of data that has a rule, one after the other, each run recorded with what it removed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import structlog
from django.db import transaction

from access import policies
from audit import services as audit
from core import clock, governance
from core.actors import Actor
from core.dispatch import enqueue
from core.ids import public_id
from core.locks import alone
from core.scoping import platform_scope
from tenants.models import RetentionRun, Tenant

log = structlog.get_logger(__name__)

LOCK = 0x52657465  # "Rete"
MOST_DETAILS = 1_000  # lines that a run keeps; the sums are over all


def apply(*, actor: Actor, dry_run: bool = False, data_class: str = "") -> list[RetentionRun]:
    """Apply retention to all classes that have a rule, or to one; with `dry_run` only count.

    One run at a time on the whole platform; an empty list while another runs. A class that fails is logged, and the
    others go on. Bounded memory, many short transactions. Raises NotAllowed, KeyError for a class without a rule.
    """
    policies.require(actor, "tenants.retention.apply")
    classes = {name: each for name, each in governance.catalogue().items() if each.retain is not None}
    wanted = [classes[data_class]] if data_class else list(classes.values())
    with alone(LOCK) as is_alone:
        if not is_alone:
            return []
        runs = []
        for each in wanted:
            try:
                runs.append(_run(each, actor, dry_run))
            except Exception:
                log.exception("retention.failed", data_class=each.name)
                if data_class:
                    raise
        return runs


@transaction.atomic
def request(*, actor: Actor, data_class: str = "") -> None:
    """Have the jobs worker apply retention now. Raises NotAllowed."""
    policies.require(actor, "tenants.retention.apply")
    audit.record("tenants.retention.requested", actor=actor, after={"class": data_class or "all"})
    enqueue("tenants.apply_retention", data_class=data_class)


def _run(each: governance.DataClass, actor: Actor, dry_run: bool) -> RetentionRun:
    assert each.retain is not None  # noqa: S101 - chosen by it; for the type checker
    begun = clock.now()
    details: list[dict[str, Any]] = []
    total = 0
    everything = hashlib.sha256()
    for removed in each.retain(dry_run=dry_run):
        line = _line(removed)
        total += removed.count
        everything.update(_canonical(line))
        if removed.count and len(details) < MOST_DETAILS:
            details.append(line)
    run = RetentionRun(
        data_class=each.name,
        is_dry_run=dry_run,
        removed=total,
        details=details,
        digest=everything.hexdigest(),
        ran_by=actor.label[:254],
        begun_at=begun,
        finished_at=clock.now(),
    )
    with transaction.atomic(), platform_scope("retention.record"):
        run.save(force_insert=True)
        if total and not dry_run:
            audit.record(
                "tenants.retention.applied",
                actor=actor,
                target=run,
                after={"class": each.name, "removed": total, "sha256": run.digest},
            )
    log.info("retention.applied", data_class=each.name, removed=total, dry_run=dry_run)
    return run


def _line(removed: governance.Removed) -> dict[str, Any]:
    return {
        "store": removed.store,
        "how": removed.how,
        "tenant": public_id(Tenant.id_prefix, removed.tenant_id) if removed.tenant_id else None,
        "count": removed.count,
        "begin": removed.begin.isoformat() if removed.begin else None,
        "end": removed.end.isoformat() if removed.end else None,
        "digest": f"{removed.digest & (1 << 64) - 1:016x}",
    }


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
