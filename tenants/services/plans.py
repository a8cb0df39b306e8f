"""Plans: made, changed and removed by operators, and given to tenants. Effective everywhere within a second."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from core.actors import Actor
from core.errors import InvalidInput, NotFound
from core.events import announce
from tenants.errors import PlanInUse, SlugTaken
from tenants.models import MAX_BAND, MAX_WEIGHT, Plan, Tenant, slug_validators
from tenants.services.tenants import lock

MAX_QUEUE_LIMIT = 1_000_000


@transaction.atomic
def create(
    *,
    actor: Actor,
    slug: str,
    name: str,
    weight: Decimal = Decimal(1),
    band: int = 0,
    queue_limit: int | None = None,
    allow_priority: bool = False,
) -> Plan:
    """A new plan. Raises NotAllowed, InvalidInput, SlugTaken."""
    policies.require(actor, "tenants.plan.change")
    plan = Plan(
        slug=_clean_slug(slug),
        name=_clean_name(name),
        weight=_clean_weight(weight),
        band=_clean_count(band, "band", 0, MAX_BAND),
        queue_limit=_clean_queue_limit(queue_limit),
        allow_priority=bool(allow_priority),
    )
    if Plan.objects.filter(slug=plan.slug).exists():
        raise SlugTaken(_("Another plan has this short name already."), field="slug")
    plan.save(force_insert=True)
    audit.record("tenants.plan.created", actor=actor, target=plan, after=_shown(plan))
    return plan


@transaction.atomic
def change(*, plan: Plan, actor: Actor, **fields: Any) -> Plan:
    """Change name, weight, band, queue limit or priority. Raises NotAllowed, InvalidInput, NotFound."""
    policies.require(actor, "tenants.plan.change")
    locked = _locked(plan)
    before = _shown(locked)
    cleaners: dict[str, Callable[[Any], Any]] = {
        "name": _clean_name,
        "weight": _clean_weight,
        "band": lambda value: _clean_count(value, "band", 0, MAX_BAND),
        "queue_limit": _clean_queue_limit,
        "allow_priority": bool,
    }
    for name, value in fields.items():
        setattr(locked, name, cleaners[name](value))
    after = _shown(locked)
    if after == before:
        return locked
    locked.save(update_fields=[*fields, "updated_at"])
    audit.record("tenants.plan.changed", actor=actor, target=locked, before=before, after=after)
    announce("tenant")
    return locked


@transaction.atomic
def remove(*, plan: Plan, actor: Actor) -> None:
    """Remove a plan that no tenant has. Raises NotAllowed, NotFound, PlanInUse."""
    policies.require(actor, "tenants.plan.change")
    locked = _locked(plan)
    before = _shown(locked)
    audit.record("tenants.plan.removed", actor=actor, target=locked, before=before)
    try:
        with transaction.atomic():
            locked.delete()
    except ProtectedError:
        raise PlanInUse(_("Tenants have this plan. Give them another one first.")) from None


@transaction.atomic
def assign(*, tenant: Tenant, plan: Plan | None, actor: Actor, reason: str = "") -> Tenant:
    """Give a tenant a plan, or (None) the defaults. Raises NotAllowed, NotFound."""
    policies.require(actor, "tenants.tenant.set_plan")
    locked = lock(tenant)
    if locked.plan_id == (plan.pk if plan else None):
        return locked
    before = locked.plan.slug if locked.plan else None
    locked.plan = plan
    locked.save(update_fields=["plan", "updated_at"])
    audit.record(
        "tenants.tenant.plan_set",
        actor=actor,
        target=locked,
        tenant_id=locked.pk,
        reason=reason.strip(),
        before={"plan": before},
        after={"plan": plan.slug if plan else None},
    )
    announce("tenant", tenant_id=locked.pk)
    return locked


def _locked(plan: Plan) -> Plan:
    locked = Plan.objects.select_for_update().filter(pk=plan.pk).first()
    if locked is None:
        raise NotFound(_("There is no such plan."))
    return locked


def _shown(plan: Plan) -> dict[str, Any]:
    return {
        "slug": plan.slug,
        "name": plan.name,
        "weight": str(plan.weight),
        "band": plan.band,
        "queue_limit": plan.queue_limit,
        "allow_priority": plan.allow_priority,
    }


def _clean_slug(slug: str) -> str:
    cleaned = slug.strip()
    for validator in slug_validators:
        try:
            validator(cleaned)
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages), field="slug") from None
    return cleaned


def _clean_name(name: str) -> str:
    cleaned = " ".join(name.split())
    if not 0 < len(cleaned) <= 100 or not cleaned.isprintable():
        raise InvalidInput(
            _("A name has 1 to %(count)d printable characters.") % {"count": 100}, field="name"
        )
    return cleaned


def _clean_weight(weight: Any) -> Decimal:
    try:
        # A float is not exact, and NaN compares with nothing.
        cleaned = Decimal(str(weight)).quantize(Decimal("0.001"))
        if cleaned.is_finite() and 0 < cleaned <= MAX_WEIGHT:
            return cleaned
    except InvalidOperation:
        pass
    raise InvalidInput(
        _("The weight must be above 0 and at most %(most)d.") % {"most": MAX_WEIGHT}, field="weight"
    )


def _clean_queue_limit(value: int | None) -> int | None:
    return None if value is None else _clean_count(value, "queue_limit", 0, MAX_QUEUE_LIMIT)


def _clean_count(value: Any, field: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(
            _("This must be a whole number from %(least)d to %(most)d.") % {"least": least, "most": most},
            field=field,
        )
    return value
