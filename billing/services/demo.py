"""Prices and money of a first start: a plan in CNY, and a wallet with something in it for every demo tenant."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from billing import money
from billing.models import PricePlan
from billing.models.prices import EVERY_MODEL
from billing.selectors.prices import subscription_in_force
from billing.services import prices, wallets
from core.actors import system
from core.scoping import platform_scope
from tenants.models import Tenant

ACTOR = system("demo")
SLUG = "demo"
CURRENCY = "CNY"
# Per million tokens, and per call.
PRICE = {
    "model": EVERY_MODEL,
    "input_nano": money.parse("1"),
    "cached_nano": money.parse("0.2"),
    "output_nano": money.parse("2"),
    "call_nano": money.parse("0.0001"),
}
WALLET_NANO = money.parse("1000")


@transaction.atomic
def seed(slugs: list[str]) -> list[str]:
    """Give the tenants of these short names the demo's plan and wallet, where they have none.

    Idempotent: a tenant that has, or had, a plan of whatever kind is left as it is. Says what it did, in lines.
    """
    lines = []
    with platform_scope(reason="demo prices"):
        plan = PricePlan.objects.filter(slug=SLUG).first()
        if plan is None:
            plan = prices.create_plan(actor=ACTOR, slug=SLUG, name="Demo", currency=CURRENCY)
            prices.publish(actor=ACTOR, plan=plan, prices=[PRICE], note="demo")
        for tenant in Tenant.objects.filter(slug__in=slugs).order_by("slug"):
            if subscription_in_force(tenant_id=tenant.pk) is not None:
                continue
            wallets.grant_credit(
                actor=ACTOR,
                tenant=tenant,
                amount_nano=WALLET_NANO,
                currency=CURRENCY,
                reason="demo",
                idempotency_key="demo",
            )
            prices.subscribe(actor=ACTOR, tenant=tenant, plan=plan)
            lines.append(
                _("%(name)s has %(amount)s to spend.")
                % {"name": tenant.name, "amount": money.display(WALLET_NANO, CURRENCY)}
            )
    return lines
