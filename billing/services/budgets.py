"""Budgets: kept by the tenant's people, watched by the schedule, told of once per threshold and month."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import structlog
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from billing.models import BillingEvent, Budget, BudgetAlert, BudgetScope
from billing.money import plain
from billing.periods import month_of
from billing.selectors import budgets as selectors
from core import clock
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from core.scoping import platform_scope, tenant_scope

log = structlog.get_logger(__name__)

DEFAULT_THRESHOLDS = (50, 80, 100)
MOST_THRESHOLDS = 10
MOST_RECIPIENTS = 20
MOST_BUDGETS = 200
MAX_LIMIT = (1 << 63) - 1
_FIELDS = (
    *("name", "scope", "key_id", "model", "tag_name", "tag_value", "limit_nano", "limit_tokens"),
    *("currency", "thresholds", "recipients", "is_active"),
)


@transaction.atomic
def create(*, tenant_id: UUID, actor: Actor, **fields: Any) -> Budget:
    """A new budget. Raises NotAllowed, InvalidInput, Conflict."""
    policies.require(actor, "billing.budget.change")
    if Budget.objects.filter(tenant_id=tenant_id).count() >= MOST_BUDGETS:
        raise Conflict(_("There are %(limit)d budgets already.") % {"limit": MOST_BUDGETS})
    budget = Budget(tenant_id=tenant_id, **{"thresholds": list(DEFAULT_THRESHOLDS), **fields})
    _check(budget)
    _save(budget, force_insert=True)
    audit.record("billing.budget.created", actor=actor, target=budget, after=_shown(budget))
    return budget


@transaction.atomic
def change(*, budget: Budget, actor: Actor, **fields: Any) -> Budget:
    """Change a budget. What it told of this month stays told. Raises NotAllowed, InvalidInput, Conflict."""
    policies.require(actor, "billing.budget.change")
    locked = Budget.objects.select_for_update().get(pk=budget.pk)
    before = _shown(locked)
    for name, value in fields.items():
        setattr(locked, name, value)
    _check(locked)
    _save(locked)
    audit.record("billing.budget.changed", actor=actor, target=locked, before=before, after=_shown(locked))
    return locked


@transaction.atomic
def remove(*, budget: Budget, actor: Actor) -> None:
    """Remove a budget with its alerts. Raises NotAllowed."""
    policies.require(actor, "billing.budget.change")
    audit.record("billing.budget.removed", actor=actor, target=budget, before=_shown(budget))
    budget.delete()


def watch() -> int:
    """Compare every budget with what was used this month; returns how many alerts were new. For the schedule.

    A row that PostgreSQL keeps once decides who tells: however many schedulers run at once, each threshold is told
    of once a month (F16).
    """
    with platform_scope("budgets.watch"):
        watched = list(
            Budget.objects.filter(is_active=True)
            .order_by("tenant_id")
            .values_list("tenant_id", flat=True)
            .distinct()
        )
    month = month_of(clock.now())
    fired = 0
    for tenant_id in watched:
        with tenant_scope(tenant_id):
            for budget in selectors.budgets().filter(is_active=True):
                fired += _compare(budget, month)
    return fired


def _compare(budget: Budget, month: date) -> int:
    limit = budget.limit_nano if budget.limit_nano is not None else budget.limit_tokens
    spent = selectors.spent(budget, month)
    reached = [each for each in budget.thresholds if limit and spent * 100 >= limit * each]
    told = set(BudgetAlert.objects.filter(budget=budget, period=month).values_list("threshold", flat=True))
    new = 0
    for threshold in sorted(set(reached) - told):
        alert = BudgetAlert(
            tenant_id=budget.tenant_id,
            budget=budget,
            period=month,
            threshold=threshold,
            spent=spent,
            limit=limit or 0,
        )
        try:
            with transaction.atomic():
                alert.save(force_insert=True)
        except IntegrityError:
            continue  # another scheduler was faster
        _tell(budget, alert)
        new += 1
    return new


def _tell(budget: Budget, alert: BudgetAlert) -> None:
    money = budget.limit_nano is not None
    BillingEvent(
        tenant_id=budget.tenant_id,
        type="billing.budget.threshold_reached",
        payload={
            "budget": budget.public_id,
            "name": budget.name,
            "month": f"{alert.period:%Y-%m}",
            "threshold_percent": alert.threshold,
            "measure": "amount" if money else "tokens",
            "currency": budget.currency,
            "used": plain(alert.spent) if money else str(alert.spent),
            "limit": plain(alert.limit) if money else str(alert.limit),
        },
    ).save(force_insert=True)
    log.info("billing.budget.threshold_reached", budget=budget.public_id, threshold=alert.threshold)


def _save(budget: Budget, **how: Any) -> None:
    try:
        with transaction.atomic():
            budget.save(**how)
    except IntegrityError as error:
        if "billing_budget_name_once" in str(error):
            raise Conflict(_("There is a budget of this name already."), field="name") from None
        raise


def _shown(budget: Budget) -> dict[str, Any]:
    shown = {name: getattr(budget, name) for name in _FIELDS}
    shown["key_id"] = str(budget.key_id) if budget.key_id else None
    return shown


def _check(budget: Budget) -> None:
    """Raise InvalidInput unless the budget makes sense as a whole."""
    _check_limit(budget)
    budget.thresholds = _thresholds(budget.thresholds)
    budget.recipients = _recipients(budget.recipients)
    wanted = {
        BudgetScope.KEY.value: ("key_id", "key", _("Name the key.")),
        BudgetScope.MODEL.value: ("model", "model", _("Name the model.")),
        BudgetScope.TAG.value: ("tag_name", "tag_name", _("Name the tag.")),
    }.get(budget.scope)
    if wanted is not None and not getattr(budget, wanted[0]):
        raise InvalidInput(wanted[2], field=wanted[1])
    if budget.scope != BudgetScope.KEY:
        budget.key_id = None
    if budget.scope != BudgetScope.MODEL:
        budget.model = ""
    if budget.scope != BudgetScope.TAG:
        budget.tag_name = budget.tag_value = ""


def _check_limit(budget: Budget) -> None:
    if (budget.limit_nano is None) == (budget.limit_tokens is None):
        raise InvalidInput(_("Give either an amount or a number of tokens."), field="amount")
    limit = budget.limit_nano if budget.limit_nano is not None else budget.limit_tokens
    if type(limit) is not int or not 0 < limit <= MAX_LIMIT:
        raise InvalidInput(_("The limit must be above zero."), field="amount")
    if budget.limit_nano is None:
        budget.currency = ""
    elif len(budget.currency) != 3:
        raise InvalidInput(_("Name the currency of the amount."), field="currency")


def _thresholds(given: Sequence[int]) -> list[int]:
    if not given or len(given) > MOST_THRESHOLDS or len(set(given)) != len(given):
        raise InvalidInput(
            _("Give 1 to %(limit)d different thresholds.") % {"limit": MOST_THRESHOLDS}, field="thresholds"
        )
    if not all(type(each) is int and 1 <= each <= 1000 for each in given):
        raise InvalidInput(_("A threshold is a whole number from 1 to 1000 percent."), field="thresholds")
    return sorted(given)


def _recipients(given: Sequence[str]) -> list[str]:
    if len(given) > MOST_RECIPIENTS:
        raise InvalidInput(
            _("At most %(limit)d recipients.") % {"limit": MOST_RECIPIENTS}, field="recipients"
        )
    for address in given:
        try:
            validate_email(address)
        except ValidationError:
            raise InvalidInput(_("This is no e-mail address."), field="recipients") from None
    return sorted({address.strip().lower() for address in given})
