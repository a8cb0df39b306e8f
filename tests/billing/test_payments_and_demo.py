"""The payment port with a provider that reports by webhook, and the money of a first start."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from billing import payments
from billing.models import Payment, PricePlan, PricePlanVersion
from billing.payments.port import Notice, Order, Placed
from billing.services import demo, escrow, wallets
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.scoping import platform_scope
from tenants.models import Tenant
from tests.billing import world
from tests.billing.world import MACHINE, balances

pytestmark = pytest.mark.django_db
SECRET = b"shared with the provider"


class SignedProvider:
    """A provider with a page to pay at, which reports with a signature."""

    name = "signed"
    confirmed_by_operator = False

    def place(self, order: Order) -> Placed:
        """Numbered by the order."""
        return Placed(f"ext-{order.id}", f"https://pay.example/{order.id}")

    def read_notice(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """Signed with a shared secret."""
        if not hmac.compare_digest(headers.get("signature", ""), signature(body)):
            raise NotAllowed("This is not the provider's.")
        return Notice(**json.loads(body))

    def refund(self, order: Order, reference: str) -> None:
        """Always possible."""


def signature(body: bytes) -> str:
    """As the provider makes it."""
    return hmac.new(SECRET, body, hashlib.sha256).hexdigest()


@pytest.fixture
def signed() -> Iterator[None]:
    """The provider, registered."""
    payments.register(SignedProvider())
    yield
    payments._PROVIDERS.pop("signed")


@pytest.fixture
def payment(acme: Tenant, signed: None) -> Payment:
    """A payment through it."""
    with platform_scope("tests"):
        return wallets.begin_payment(
            actor=MACHINE, tenant=acme, amount_nano=500, currency="CNY", provider="signed"
        )


def report(payment: Payment, **changes: Any) -> Payment:
    """What the provider sends."""
    body = json.dumps(
        {"reference": payment.reference, "paid": True, "amount_nano": 500, "currency": "CNY", **changes}
    ).encode()
    return wallets.notified(provider="signed", headers={"signature": signature(body)}, body=body)


def test_a_providers_report_confirms_once(acme: Tenant, payment: Payment) -> None:
    assert payment.pay_url.startswith("https://pay.example/pay_")
    for _ in range(2):
        assert report(payment).state == "confirmed"
    assert balances(acme) == {"payments": -500, "wallet": 500}
    world.assert_sound(acme)


def test_a_report_that_is_forged_or_does_not_fit_moves_nothing(acme: Tenant, payment: Payment) -> None:
    with pytest.raises(NotAllowed):
        wallets.notified(provider="signed", headers={}, body=b"{}")
    with pytest.raises(Conflict):
        report(payment, amount_nano=501)
    with pytest.raises(NotFound):
        report(payment, reference="another")
    with pytest.raises(InvalidInput):
        wallets.notified(provider="nobody", headers={}, body=b"{}")
    with pytest.raises(NotAllowed):
        wallets.notified(provider="manual", headers={}, body=b"{}")
    assert balances(acme) == {}


def test_a_payment_that_failed_does_not_come_back(acme: Tenant, payment: Payment) -> None:
    assert report(payment, paid=False).state == "failed"
    with pytest.raises(Conflict):
        report(payment)
    assert balances(acme) == {}


def test_an_operator_cannot_confirm_what_the_provider_confirms(payment: Payment) -> None:
    with pytest.raises(NotAllowed), platform_scope("tests"):
        wallets.confirm_payment(actor=MACHINE, payment=payment)


def test_the_demos_tenants_have_prices_and_money_and_a_second_start_gives_no_more(
    acme: Tenant, globex: Tenant
) -> None:
    assert len(demo.seed(["acme"])) == 1
    assert demo.seed(["acme"]) == []
    assert balances(acme) == {"credit": -demo.WALLET_NANO, "wallet": demo.WALLET_NANO}
    assert balances(globex) == {}
    terms = escrow.terms_for(tenant_id=acme.pk)
    assert (terms.charged, terms.currency) == (True, "CNY")
    assert terms.price_of("atrium-starter") is not None
    with platform_scope("tests"):
        assert (PricePlan.objects.count(), PricePlanVersion.objects.count()) == (1, 1)


def test_a_demo_tenant_that_an_operator_made_free_stays_free(acme: Tenant) -> None:
    from billing.services import prices

    demo.seed(["acme"])
    with platform_scope("tests"):
        prices.subscribe(actor=MACHINE, tenant=acme, plan=None)
    assert demo.seed(["acme"]) == []
    assert not escrow.terms_for(tenant_id=acme.pk).charged
