"""Limits: set, changed and removed while everything runs; web processes follow within a second."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from access.models import APIKey
from audit import services as audit
from core.actors import Actor
from core.errors import InvalidInput, NotFound
from core.events import announce
from tenants.errors import LimitExists
from tenants.models import MAX_LIMIT, Limit, LimitKind, LimitOwner, Tenant
from tenants.policies import require_limit_change

MAX_MODEL_LENGTH = 200


@transaction.atomic
def create(
    *,
    tenant: Tenant,
    actor: Actor,
    kind: str,
    value: int,
    key: APIKey | None = None,
    model: str = "",
    is_enabled: bool = True,
    owner: str = LimitOwner.TENANT,
) -> Limit:
    """A new limit of `tenant`: a ceiling when the platform owns it.

    Raises NotAllowed, InvalidInput, LimitExists when the owner has one of this kind and reach.
    """
    require_limit_change(actor, owner=owner)
    if kind not in LimitKind.values:
        raise InvalidInput(_("There is no such kind of limit."), field="kind")
    if key is not None and key.tenant_id != tenant.pk:
        raise InvalidInput(_("There is no such API key."), field="key")
    limit = Limit(
        tenant=tenant,
        owner=owner,
        kind=kind,
        value=_clean_value(value),
        key=key,
        model=_clean_model(model),
        is_enabled=bool(is_enabled),
    )
    # The row of the tenant is the lock: two who set the same limit at once do not both find none.
    Tenant.objects.select_for_update().filter(pk=tenant.pk).first()
    if Limit.objects.filter(tenant=tenant, owner=owner, kind=kind, key=key, model=limit.model).exists():
        raise LimitExists(_("There is such a limit already. Change it instead."))
    _refuse_above_ceiling(limit)
    limit.save(force_insert=True)
    audit.record("tenants.limit.created", actor=actor, target=limit, after=_shown(limit))
    announce("tenant", tenant_id=limit.tenant_id)
    return limit


@transaction.atomic
def change(
    *,
    limit: Limit,
    actor: Actor,
    value: int | None = None,
    is_enabled: bool | None = None,
    reason: str = "",
) -> Limit:
    """Another value, or on and off. What was used so far stays used. Raises NotAllowed, InvalidInput, NotFound."""
    locked = _locked(limit)
    require_limit_change(actor, owner=locked.owner)
    before = _shown(locked)
    if value is not None:
        locked.value = _clean_value(value)
        _refuse_above_ceiling(locked)
    if is_enabled is not None:
        locked.is_enabled = is_enabled
    after = _shown(locked)
    if after == before:
        return locked
    locked.save(update_fields=["value", "is_enabled", "updated_at"])
    audit.record(
        "tenants.limit.changed", actor=actor, target=locked, reason=reason, before=before, after=after
    )
    announce("tenant", tenant_id=locked.tenant_id)
    return locked


@transaction.atomic
def remove(*, limit: Limit, actor: Actor) -> None:
    """Take a limit away. Raises NotAllowed, NotFound."""
    locked = _locked(limit)
    require_limit_change(actor, owner=locked.owner)
    audit.record("tenants.limit.removed", actor=actor, target=locked, before=_shown(locked))
    tenant_id = locked.tenant_id
    locked.delete()
    announce("tenant", tenant_id=tenant_id)


def _locked(limit: Limit) -> Limit:
    locked = Limit.objects.select_for_update(of=("self",)).filter(pk=limit.pk).first()
    if locked is None:
        raise NotFound(_("There is no such limit."))
    return locked


def _shown(limit: Limit) -> dict[str, Any]:
    return {
        "owner": limit.owner,
        "kind": limit.kind,
        "value": limit.value,
        "key": str(limit.key_id) if limit.key_id else None,
        "model": limit.model,
        "is_enabled": limit.is_enabled,
    }


def _clean_value(value: Any) -> int:
    # A float is refused whatever its value: NaN compares with nothing, and a limit is a whole number.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_LIMIT:
        raise InvalidInput(
            _("A limit is a whole number from 0 to %(most)d.") % {"most": MAX_LIMIT}, field="value"
        )
    return value


def _clean_model(model: str) -> str:
    cleaned = model.strip()
    if len(cleaned) > MAX_MODEL_LENGTH or not (cleaned.isprintable() or not cleaned):
        raise InvalidInput(_("This is not the name of a model."), field="model")
    return cleaned


def _refuse_above_ceiling(limit: Limit) -> None:
    """Say so at once when a tenant's own limit would have no effect; what counts is the lowest in any case."""
    if limit.owner != LimitOwner.TENANT:
        return
    ceiling = Limit.objects.filter(
        tenant=limit.tenant_id,
        owner=LimitOwner.PLATFORM,
        kind=limit.kind,
        key=limit.key_id,
        model=limit.model,
        is_enabled=True,
        value__lt=limit.value,
    ).first()
    if ceiling is not None:
        raise InvalidInput(
            _("The platform allows at most %(most)d here.") % {"most": ceiling.value}, field="value"
        )
