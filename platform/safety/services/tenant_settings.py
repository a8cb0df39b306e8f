"""A tenant's settings: what its refusals say, what happens on failures, changed platform rules, disclaimers.

All of it is in force in every process within a second, without a version.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from access import policies as access
from audit import services as audit
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from safety import policies, selectors
from safety.models import Disclaimer, OnFailure, Override, RuleAction, TenantSafety
from safety.owners import PLATFORM, Owner, owner_of
from safety.services.heads import clean, locked, locked_head, require_revision

MAX_DISCLAIMERS = 200


@transaction.atomic
def change(*, tenant_id: UUID, actor: Actor, revision: int | None = None, **fields: Any) -> TenantSafety:
    """What refusals say, in which language, and what is done to prompts. Raises NotAllowed, InvalidInput, Outdated."""
    access.require(actor, "safety.settings.change")
    head: TenantSafety = locked_head(Owner(tenant_id))
    require_revision(head, revision)
    names = ("language", "refusal_message", "plants_canaries", "spotlights")
    before = {name: getattr(head, name) for name in names}
    for name in names:
        value = fields.get(name, before[name])
        setattr(head, name, value.strip() if isinstance(value, str) else value)
    if head.language and head.language not in dict(settings.LANGUAGES):
        raise InvalidInput(_("The platform does not speak this language."), field="language")
    clean(head)
    return _settle(
        head, actor, "safety.settings.changed", before, {name: getattr(head, name) for name in names}
    )


@transaction.atomic
def set_on_failure(
    *, tenant_id: UUID, actor: Actor, on_failure: str, revision: int | None = None, reason: str = ""
) -> TenantSafety:
    """What happens while rules cannot be checked (L22). For the tenant's owner and operators, with a reason.

    Raises NotAllowed, InvalidInput, Outdated.
    """
    access.require(actor, "safety.failure.change")
    if on_failure not in OnFailure.values:
        raise InvalidInput(_("Choose “close” or “open”."), field="on_failure")
    if not reason.strip():
        raise InvalidInput(_("Give a reason: it is kept in the audit trail."), field="reason")
    head: TenantSafety = locked_head(Owner(tenant_id))
    require_revision(head, revision)
    before = {"on_failure": head.on_failure}
    head.on_failure = on_failure
    return _settle(
        head, actor, "safety.failure.changed", before, {"on_failure": on_failure}, reason=reason.strip()
    )


@transaction.atomic
def add_override(
    *, tenant_id: UUID, actor: Actor, rule: str, action_in: str = "", action_out: str = ""
) -> Override:
    """Have a platform's rule do something else for this tenant. Raises NotAllowed, TooLoose, InvalidInput, Conflict."""
    access.require(actor, "safety.settings.change")
    row = Override(tenant_id=tenant_id, rule=rule, action_in=action_in, action_out=action_out)
    _check_override(row)
    _save(row, "safety_override_once", _("This rule is changed already. Change that instead."), "rule")
    _record("override.added", row, actor, after=_override(row))
    return row


@transaction.atomic
def change_override(
    *, override: Override, actor: Actor, revision: int | None = None, **fields: str
) -> Override:
    """Other actions. Raises NotAllowed, TooLoose, InvalidInput, Outdated, NotFound."""
    access.require(actor, "safety.settings.change")
    row: Override = locked(override)
    require_revision(row, revision)
    before = _override(row)
    for name in ("action_in", "action_out"):
        setattr(row, name, fields.get(name, getattr(row, name)))
    _check_override(row)
    if _override(row) == before:
        return row
    row.revision += 1
    row.save()
    _record("override.changed", row, actor, before=before, after=_override(row))
    return row


@transaction.atomic
def remove_override(*, override: Override, actor: Actor) -> None:
    """Have the rule do again what the platform says. Raises NotAllowed, NotFound."""
    access.require(actor, "safety.settings.change")
    row = locked(override)
    _record("override.removed", row, actor, before=_override(row))
    row.delete()


@transaction.atomic
def add_disclaimer(
    *, tenant_id: UUID, actor: Actor, model: str = "", prefix: str = "", suffix: str = ""
) -> Disclaimer:
    """Text around the answers of a model, or of all others. Raises NotAllowed, InvalidInput, Conflict."""
    access.require(actor, "safety.settings.change")
    if Disclaimer.objects.filter(tenant_id=tenant_id).count() >= MAX_DISCLAIMERS:
        raise Conflict(_("There are %(limit)d disclaimers already.") % {"limit": MAX_DISCLAIMERS})
    row = Disclaimer(tenant_id=tenant_id, model=model.strip(), prefix=prefix, suffix=suffix)
    _check_disclaimer(row)
    _save(
        row, "safety_disclaimer_once", _("This model has a disclaimer already. Change that instead."), "model"
    )
    _record("disclaimer.added", row, actor, after=_disclaimer(row))
    return row


@transaction.atomic
def change_disclaimer(
    *, disclaimer: Disclaimer, actor: Actor, revision: int | None = None, **fields: str
) -> Disclaimer:
    """Other text. Raises NotAllowed, InvalidInput, Outdated, NotFound."""
    access.require(actor, "safety.settings.change")
    row: Disclaimer = locked(disclaimer)
    require_revision(row, revision)
    before = _disclaimer(row)
    for name in ("prefix", "suffix"):
        setattr(row, name, fields.get(name, getattr(row, name)))
    _check_disclaimer(row)
    if _disclaimer(row) == before:
        return row
    row.revision += 1
    row.save()
    _record("disclaimer.changed", row, actor, before=before, after=_disclaimer(row))
    return row


@transaction.atomic
def remove_disclaimer(*, disclaimer: Disclaimer, actor: Actor) -> None:
    """Answers come without it again. Raises NotAllowed, NotFound."""
    access.require(actor, "safety.settings.change")
    row = locked(disclaimer)
    _record("disclaimer.removed", row, actor, before=_disclaimer(row))
    row.delete()


def _settle(
    head: TenantSafety,
    actor: Actor,
    action: str,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str = "",
) -> TenantSafety:
    if after == before:
        return head
    head.revision += 1
    head.save()
    audit.record(action, actor=actor, target=head, reason=reason, before=before, after=after)
    owner_of(head).announce()
    return head


def _record(what: str, row: Any, actor: Actor, **values: Any) -> None:
    audit.record(f"safety.{what}", actor=actor, target=row, **values)
    owner_of(row).announce()


def _check_override(row: Override) -> None:
    for name in ("action_in", "action_out"):
        if getattr(row, name) not in ("", *RuleAction.values):
            raise InvalidInput(_("There is no such action."), field=name)
    if not row.action_in and not row.action_out:
        raise InvalidInput(_("Name an action for at least one direction."), field="action_in")
    published = {rule.id: rule for rule in selectors.published(PLATFORM).rules}
    if row.rule not in published:
        raise InvalidInput(_("The platform has no such rule in force."), field="rule", code="not_found")
    control = selectors.controls_in_force().get(row.rule)
    policies.check_override(published[row.rule], control, (row.action_in, row.action_out))


def _check_disclaimer(row: Disclaimer) -> None:
    clean(row)
    if not row.prefix and not row.suffix:
        raise InvalidInput(_("Give a text before or after the answer."), field="prefix")


def _save(row: Any, constraint: str, message: str, field: str) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        if constraint in str(error):
            raise Conflict(message, field=field) from None
        raise


def _override(row: Override) -> dict[str, Any]:
    return {"rule": row.rule, "action_in": row.action_in, "action_out": row.action_out}


def _disclaimer(row: Disclaimer) -> dict[str, Any]:
    return {"model": row.model, "prefix": row.prefix, "suffix": row.suffix}
