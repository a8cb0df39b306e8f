"""Making price plans, publishing versions of their prices, and giving tenants a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from billing.errors import AmountRefused
from billing.models import Price, PricePlan, PricePlanVersion, PriceSubscription
from billing.models.prices import EVERY_MODEL, MOST_PRICE_NANO, slug_validator
from billing.money import currency as known_currency
from billing.money import nano
from billing.rating import COMPONENTS, rate_card
from core import clock
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from core.events import announce
from tenants.models import Tenant

MOST_PRICES = 500
MOST_TIERS = 20
MOST_VOLUME = 10**18
# How far a moment may lie in the past and still mean "now".
_NOW = timedelta(minutes=5)
_AMOUNTS = (
    *("input_nano", "cached_nano", "output_nano"),
    *("call_nano", "gpu_second_nano", "slot_hour_nano"),
)


@transaction.atomic
def create_plan(*, actor: Actor, slug: str, name: str, currency: str) -> PricePlan:
    """A new plan without prices. Raises NotAllowed, InvalidInput, Conflict for a short name that is taken."""
    policies.require(actor, "billing.price.change")
    known_currency(currency)
    try:
        slug_validator(slug)
    except ValidationError as error:
        raise InvalidInput(" ".join(error.messages), field="slug") from None
    name = " ".join(name.split())
    if not name or len(name) > 100 or not name.isprintable():
        raise InvalidInput(_("A price plan needs a name of at most 100 characters."), field="name")
    if PricePlan.objects.filter(slug=slug).exists():
        raise Conflict(_("Another price plan has this short name."), code="slug_taken", field="slug")
    plan = PricePlan(slug=slug, name=name, currency=currency)
    plan.save(force_insert=True)
    audit.record(
        "billing.price_plan.created",
        actor=actor,
        target=plan,
        after={"slug": slug, "name": name, "currency": currency},
    )
    return plan


@transaction.atomic
def publish(
    *,
    actor: Actor,
    plan: PricePlan,
    prices: Sequence[Mapping[str, Any]],
    valid_from: datetime | None = None,
    note: str = "",
) -> PricePlanVersion:
    """A further version of a plan: from `valid_from` (default: now) on, requests are admitted at these prices.

    Running requests keep the price that they were admitted at (F15). Each price names a `model` (a public name,
    or `*` for all others), any of the six amounts in nano-units, and `tiers` and `included` by component of
    billing.rating. A version is never changed: a mistake is corrected by the next one (F13).

    Raises NotAllowed; InvalidInput for a moment that has passed, an amount out of bounds, tiers that do not rise,
    or one model named twice.
    """
    policies.require(actor, "billing.price.change")
    begin = _from(valid_from)
    if not 1 <= len(prices) <= MOST_PRICES:
        raise InvalidInput(_("Give 1 to %(count)d prices.") % {"count": MOST_PRICES}, field="prices")
    rows = [_price(given) for given in prices]
    if len({row.model for row in rows}) < len(rows):
        raise InvalidInput(_("Give one price for a model."), field="prices")
    # Two who publish at once: one waits, and gets the next number.
    locked = PricePlan.objects.select_for_update().get(pk=plan.pk)
    newest = PricePlanVersion.objects.filter(plan=locked).order_by("-number").first()
    version = PricePlanVersion(
        plan=locked, number=newest.number + 1 if newest else 1, valid_from=begin, note=note[:500]
    )
    version.save(force_insert=True)
    for row in rows:
        row.version = version
    Price.objects.bulk_create(rows)
    audit.record(
        "billing.price_plan.published",
        actor=actor,
        target=locked,
        after={
            "version": version.number,
            "valid_from": begin,
            "prices": {row.model: {name: str(getattr(row, name)) for name in _AMOUNTS} for row in rows},
        },
        reason=note,
    )
    announce("tenant")
    return version


@transaction.atomic
def subscribe(
    *, actor: Actor, tenant: Tenant, plan: PricePlan | None, valid_from: datetime | None = None
) -> PriceSubscription:
    """From `valid_from` (default: now) on, charge a tenant by a plan; with none, do not charge it.

    Raises NotAllowed, InvalidInput for a moment that has passed.
    """
    policies.require(actor, "billing.price.change")
    row = PriceSubscription(tenant=tenant, plan=plan, valid_from=_from(valid_from))
    row.save(force_insert=True)
    audit.record(
        "billing.price_plan.subscribed",
        actor=actor,
        target=row,
        after={"plan": plan.slug if plan else None, "valid_from": row.valid_from},
    )
    announce("tenant", tenant_id=tenant.pk)
    return row


def _from(moment: datetime | None) -> datetime:
    now = clock.now()
    if moment is None:
        return now
    if moment.tzinfo is None:
        raise InvalidInput(_("A moment needs a time zone."), field="valid_from")
    if moment < now - _NOW:
        raise InvalidInput(
            _("Prices hold from now or later: what has been charged stays as it is."), field="valid_from"
        )
    return moment


def _price(given: Mapping[str, Any]) -> Price:
    model = given.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= 200 or not model.isprintable():
        raise InvalidInput(
            _("Name a model, or “%(all)s” for all others.") % {"all": EVERY_MODEL}, field="model"
        )
    amounts = {name: nano(given.get(name, 0), least=0, most=MOST_PRICE_NANO, field=name) for name in _AMOUNTS}
    tiers = {name: _tiers(table) for name, table in (given.get("tiers") or {}).items() if table}
    included = {
        name: _volume(volume, least=0, field="included")
        for name, volume in (given.get("included") or {}).items()
    }
    if unknown := (tiers.keys() | included.keys()) - set(COMPONENTS):
        raise InvalidInput(
            _("There is no component %(name)s.") % {"name": min(unknown)},
            field="tiers" if min(unknown) in tiers else "included",
        )
    price = Price(model=model, tiers=tiers, included=included, **amounts)
    try:
        rate_card(base=price.base, tiers=tiers, included=included)
    except AmountRefused:
        raise InvalidInput(_("Tiers must begin above zero and rise."), field="tiers") from None
    return price


def _tiers(table: Any) -> list[list[int]]:
    if not isinstance(table, Sequence) or isinstance(table, str) or len(table) > MOST_TIERS:
        raise InvalidInput(_("Give at most %(count)d tiers.") % {"count": MOST_TIERS}, field="tiers")
    rows = []
    for tier in table:
        if not isinstance(tier, Sequence) or isinstance(tier, str) or len(tier) != 2:
            raise InvalidInput(_("A tier is a volume and a price."), field="tiers")
        start, price = tier
        rows.append(
            [
                _volume(start, least=1, field="tiers"),
                nano(price, least=0, most=MOST_PRICE_NANO, field="tiers"),
            ]
        )
    return rows


def _volume(value: Any, *, least: int, field: str) -> int:
    if type(value) is not int or not least <= value <= MOST_VOLUME:
        raise InvalidInput(
            _("A volume is a whole number from %(least)d to %(most)d.")
            % {"least": least, "most": MOST_VOLUME},
            field=field,
        )
    return value
