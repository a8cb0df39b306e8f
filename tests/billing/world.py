"""What tests of money need: a tenant with prices and a wallet, what was admitted for it, and how things stand."""

from __future__ import annotations

from typing import Any

from billing.models import Account, PricePlan, UsageRecord
from billing.money import NANO
from billing.services import escrow, prices, wallets
from billing.services.verification import verify
from core.actors import system
from core.scoping import platform_scope
from tenants.models import Tenant
from tests.factories.billing import PricePlanFactory

MACHINE = system("tests")
EPOCH = "run-a"
STARTED_MS = 1_790_000_000_000  # 2026-09-21
# Per million tokens, so that a token costs a thousand and two thousand nano-units.
PRICES = {"model": "*", "input_nano": NANO, "cached_nano": NANO // 5, "output_nano": 2 * NANO}


def priced(tenant: Tenant, currency: str = "CNY", **changes: Any) -> PricePlan:
    """A plan with one price for every model, which the tenant has from now on."""
    plan: PricePlan = PricePlanFactory(currency=currency)
    with platform_scope("tests"):
        prices.publish(actor=MACHINE, plan=plan, prices=[{**PRICES, **changes}])
        prices.subscribe(actor=MACHINE, tenant=tenant, plan=plan)
    return plan


def fund(tenant: Tenant, amount_nano: int, currency: str = "CNY") -> None:
    """Money in the wallet."""
    with platform_scope("tests"):
        wallets.grant_credit(
            actor=MACHINE, tenant=tenant, amount_nano=amount_nano, currency=currency, reason="tests"
        )


def credit_line(tenant: Tenant, limit_nano: int, currency: str = "CNY") -> None:
    """How far the wallet may go below zero."""
    with platform_scope("tests"):
        wallets.set_credit_line(
            actor=MACHINE, tenant=tenant, limit_nano=limit_nano, currency=currency, reason="tests"
        )


def price_id(tenant: Tenant, model: str = "any") -> str:
    """The price that a request would be pinned to now."""
    price = escrow.terms_for(tenant_id=tenant.pk).price_of(model)
    assert price is not None
    return price.id


def granted(tenant: Tenant, need_nano: int, epoch: str = EPOCH) -> int:
    """How much was set aside for a need; 0 for nothing."""
    grant = escrow.grant(tenant_id=tenant.pk, epoch=epoch, need_nano=need_nano)
    return grant.amount_nano if grant else 0


def note(tenant: Tenant, request_id: str = "req-1", **changes: Any) -> dict[str, Any]:
    """A usage note, as it comes off the stream: 100 tokens in, 50 out; 200,000 nano-units by PRICES."""
    return {
        "request_id": request_id,
        "tenant_id": str(tenant.pk),
        "model": "any",
        "stream": False,
        "prompt_tokens": 100,
        "cached_tokens": 0,
        "completion_tokens": 50,
        "queue_ms": 0,
        "duration_ms": 100,
        "outcome": "completed",
        "started_ms": STARTED_MS,
        "finished_ms": STARTED_MS + 100,
        "gpu_prefill_ns": 1_000,
        "gpu_decode_ns": 2_000,
        "price": "",
        "hold_nano": 0,
        "epoch": "",
        "tags": {},
        **changes,
    }


COST = 200_000


def balances(tenant: Tenant, currency: str = "CNY") -> dict[str, int]:
    """Every account that is not empty."""
    with platform_scope("tests"):
        rows = Account.objects.filter(tenant=tenant, currency=currency).exclude(balance_nano=0)
        return dict(rows.values_list("kind", "balance_nano"))


def charges(tenant: Tenant) -> dict[str, int]:
    """What each request was charged."""
    with platform_scope("tests"):
        return dict(UsageRecord.objects.filter(tenant=tenant).values_list("request_id", "charge_nano"))


def assert_sound(tenant: Tenant) -> None:
    """The tenant's ledger adds up."""
    assert verify(tenant_id=tenant.pk) == []
    assert sum(balances(tenant).values()) == 0
