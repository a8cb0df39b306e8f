"""Changing a tenant's log policy, turning its key over, and reading a full text: acts that the audit trail keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from core.actors import Actor
from core.errors import Conflict, InvalidInput, Unavailable
from core.events import announce
from core.scoping import current_tenant_id
from inference.call_logs import data_keys, selectors
from inference.call_logs.models import MAX_RETENTION_DAYS, CallLog, DataKey, LogLevel, LogPolicy
from inference.call_logs.redaction import KINDS
from inference.call_logs.wire import FullText, decode_text

MOST_ENTITIES = 64


@transaction.atomic
def set_policy(
    *,
    actor: Actor,
    level: str | None = None,
    sample_percent: int | None = None,
    retention_days: int | None = None,
    kept_entities: Sequence[str] | None = None,
) -> LogPolicy:
    """Change what the active tenant wants logged; in force within a second. What is not named stays.

    Full text makes the tenant's data key where there is none. A shorter retention is applied by the next run; what is
    kept already is not made to vanish by a lower level. Raises NotAllowed, InvalidInput.
    """
    policies.require(actor, "inference.log_policy.change")
    _check(level, sample_percent, retention_days, kept_entities)
    tenant_id = current_tenant_id()
    policy = LogPolicy.objects.select_for_update().first() or LogPolicy(tenant_id=tenant_id)
    before = _facts(policy)
    if level is not None:
        policy.level = level
    if sample_percent is not None:
        policy.sample_percent = sample_percent
    if retention_days is not None:
        policy.retention_days = retention_days
    if kept_entities is not None:
        policy.kept_entities = sorted(set(kept_entities))
    policy.save()
    if policy.level == LogLevel.FULL and not DataKey.objects.filter(is_active=True).exists():
        key = data_keys.turn_over()
        audit.record("inference.data_key.created", actor=actor, target=key)
    after = _facts(policy)
    if after != before:
        audit.record("inference.log_policy.changed", actor=actor, target=policy, before=before, after=after)
    announce("tenant", tenant_id=tenant_id)
    return policy


def _check(
    level: str | None, sample: int | None, retention: int | None, entities: Sequence[str] | None
) -> None:
    if level is not None and level not in LogLevel.values:
        raise InvalidInput(_("Choose nothing, summaries or full."), field="level")
    if sample is not None and not 0 <= sample <= 100:
        raise InvalidInput(_("Give a percentage from 0 to 100."), field="sample_percent")
    if retention is not None and not 1 <= retention <= MAX_RETENTION_DAYS:
        message = _("Give a number of days from 1 to %(most)d.") % {"most": MAX_RETENTION_DAYS}
        raise InvalidInput(message, field="retention_days")
    for entity in entities or ():
        if entity not in KINDS:
            message = _("Name kinds of personal data out of these: %(kinds)s.")
            raise InvalidInput(message % {"kinds": ", ".join(sorted(KINDS))}, field="kept_entities")
    if entities is not None and len(entities) > MOST_ENTITIES:
        raise InvalidInput(_("Too many entities."), field="kept_entities")


def _facts(policy: LogPolicy) -> dict[str, Any]:
    return {
        "level": policy.level,
        "sample_percent": policy.sample_percent,
        "retention_days": policy.retention_days,
        "kept_entities": list(policy.kept_entities),
    }


@transaction.atomic
def turn_key_over(*, actor: Actor) -> DataKey:
    """A new data key for texts to come, in force within a second; older texts keep theirs. Raises NotAllowed,
    InvalidInput for a tenant that keeps no full text."""
    policies.require(actor, "inference.log_policy.change")
    if not LogPolicy.objects.filter(level=LogLevel.FULL).exists():
        raise InvalidInput(_("No full text is kept, so there is no key."))
    key = data_keys.turn_over()
    audit.record("inference.data_key.turned_over", actor=actor, target=key)
    announce("tenant", tenant_id=current_tenant_id())
    return key


@transaction.atomic
def read_text(*, log: CallLog, actor: Actor) -> FullText:
    """The full text of one request; the audit trail says who read it. Raises NotAllowed, Conflict where none is kept,
    Unavailable when it cannot be opened any more."""
    policies.require(actor, "inference.log.read_text")
    row = selectors.text_of(log)
    if row is None:
        raise Conflict(_("No full text is kept of this request."), code="no_text")
    audit.record(
        "inference.log.text_read",
        actor=actor,
        target=log,
        tenant_id=log.tenant_id,
        after={"request": log.request_id},
    )
    try:
        return decode_text(data_keys.open_text(row))
    except ValueError:
        raise Unavailable(
            _("The text cannot be opened: its key was destroyed, or it was changed."), code="text_sealed"
        ) from None
