"""Money through REST: plans and prices, wallets, the ledger, payments and corrections."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from billing.services.settlement import settle
from core import clock
from tests.api.client import REST, with_key
from tests.billing import world
from tests.conftest import BACKEND
from tests.factories.accounts import UserFactory
from tests.factories.billing import PaymentFactory

pytestmark = pytest.mark.django_db
PRICE = {"model": "*", "input": "1", "cached_input": "0.2", "output": "2.000000001"}


@pytest.fixture
def other_rest(db):
    """A second operator."""
    client = Client()
    client.force_login(UserFactory(platform_role="operator"), backend=BACKEND)
    return REST(client)


@pytest.fixture
def plan(olive_rest):
    """A plan with prices."""
    made = olive_rest.post("/price-plans/", {"slug": "standard", "name": "Standard", "currency": "CNY"})
    assert made.status_code == 201, made.content
    published = olive_rest.post(f"/price-plans/{made.json()['id']}/publish/", {"prices": [PRICE]})
    assert published.status_code == 200, published.content
    return made.json()["id"]


def subscribed(olive_rest, tenant, plan):
    """Charge a tenant by a plan."""
    made = olive_rest.post("/price-subscriptions/", {"tenant": tenant.public_id, "plan": plan})
    assert made.status_code == 201, made.content


def test_prices_are_published_and_seen_by_who_pays_them(
    olive_rest, alice_rest, charlie_rest, bob_rest, acme, plan
):
    assert alice_rest.get("/prices/").json() == {"plan": None, "currency": None, "prices": []}
    assert alice_rest.get(f"/price-plans/{plan}/").status_code == 404
    subscribed(olive_rest, acme, plan)
    seen = alice_rest.get("/prices/").json()
    assert (seen["plan"]["slug"], seen["currency"]) == ("standard", "CNY")
    (price,) = seen["prices"]
    assert price["id"].startswith("prc_")
    assert {name: price[name] for name in PRICE} == PRICE
    assert price["call"] == price["gpu_second"] == price["slot_hour"] == "0"
    assert alice_rest.get(f"/price-plans/{plan}/").status_code == 200
    assert charlie_rest.get(f"/price-plans/{plan}/versions/").status_code == 404
    assert charlie_rest.get("/prices/").json()["plan"] is None
    assert bob_rest.get("/prices/").status_code == 403  # a developer is no payer
    assert olive_rest.get("/prices/").status_code == 400
    assert olive_rest.get(f"/prices/?tenant={acme.public_id}").json() == seen


def test_tiers_and_included_amounts_are_read_as_they_were_written(olive_rest, plan):
    price = {
        **PRICE,
        "call": "0.01",
        "gpu_second": "0.5",
        "slot_hour": "3",
        "tiers": {"output": [{"from": 1_000_000, "price": "1.5"}]},
        "included": {"cached_input": 5, "calls": 100},
    }
    later = (clock.now() + timedelta(days=1)).isoformat()
    body = {"prices": [price], "valid_from": later, "note": "next"}
    published = olive_rest.post(f"/price-plans/{plan}/publish/", body)
    assert published.status_code == 200, published.content
    versions = olive_rest.get(f"/price-plans/{plan}/versions/").json()["results"]
    assert [version["number"] for version in versions] == [2, 1]
    (shown,) = versions[0]["prices"]
    assert {name: shown[name] for name in price} == price


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": 1},
        {"input": 1.5},
        {"input": "-1"},
        {"input": "NaN"},
        {"input": "1e9"},
        {"input": "1000001"},
        {"input": "0.0000000001"},
        {"model": ""},
        {"tiers": {"nothing": [{"from": 1, "price": "1"}]}},
        {"tiers": {"input": [{"from": 5, "price": "1"}, {"from": 5, "price": "2"}]}},
        {"tiers": {"input": [{"from": 0, "price": "1"}]}},
        {"tiers": {"input": [{"from": 1}]}},
        {"tiers": {"input": [[1, 2]]}},
        {"included": {"input": -1}},
        {"included": {"input": 10**30}},
        {"discount": "1"},
    ],
    ids=str,
)
def test_prices_that_make_no_sense_are_refused(olive_rest, plan, wrong):
    answer = olive_rest.post(f"/price-plans/{plan}/publish/", {"prices": [{**PRICE, **wrong}]})
    assert answer.status_code == 400, answer.content
    assert len(olive_rest.get(f"/price-plans/{plan}/versions/").json()["results"]) == 1


def test_prices_do_not_hold_in_the_past_nor_twice_for_a_model(olive_rest, plan):
    past = (clock.now() - timedelta(hours=1)).isoformat()
    for body in ({"prices": [PRICE], "valid_from": past}, {"prices": [PRICE, PRICE]}, {"prices": []}):
        assert olive_rest.post(f"/price-plans/{plan}/publish/", body).status_code == 400


@pytest.mark.slow
def test_a_payment_is_recorded_confirmed_and_paid_back(olive_rest, alice_rest, acme, plan):
    subscribed(olive_rest, acme, plan)
    body = {"tenant": acme.public_id, "amount": "12.50", "currency": "CNY", "reference": "bank-1"}
    made = olive_rest.post("/top-ups/", body)
    assert made.status_code == 201, made.content
    payment = made.json()["id"]
    assert olive_rest.post("/top-ups/", body).json()["id"] == payment
    assert olive_rest.post("/top-ups/", {**body, "amount": "13"}).status_code == 409
    assert alice_rest.get("/wallet/").json()["current"]["spendable"] == "0"
    for _ in range(2):
        assert olive_rest.post(f"/top-ups/{payment}/confirm/").json()["state"] == "confirmed"
    wallet = alice_rest.get("/wallet/").json()
    assert wallet == {
        "tenant": acme.public_id,
        "charged": True,
        "current": {
            "currency": "CNY",
            "balance": "12.5",
            "held": "0",
            "credit_line": "0",
            "spendable": "12.5",
            "charged": "0",
        },
        "others": [],
    }
    assert alice_rest.get(f"/top-ups/{payment}/").json()["state"] == "confirmed"
    refunded = olive_rest.post(f"/top-ups/{payment}/refund/", {"reason": "asked for"})
    assert refunded.json()["state"] == "refunded"
    assert alice_rest.get("/wallet/").json()["current"]["balance"] == "0"
    kinds = [row["kind"] for row in alice_rest.get("/ledger/").json()["results"]]
    assert kinds == ["refund", "top_up"]


@pytest.mark.parametrize("amount", [12, 12.5, "0", "-1", "NaN", "1e3", "99999999999", "", None, True])
def test_what_is_no_amount_is_refused(olive_rest, acme, amount):
    body = {"tenant": acme.public_id, "amount": amount, "currency": "CNY", "reference": "x"}
    answer = olive_rest.post("/top-ups/", body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["amount"]


def test_unknown_providers_and_currencies_are_refused(olive_rest, acme):
    body = {"tenant": acme.public_id, "amount": "1", "currency": "CNY", "reference": "x"}
    assert olive_rest.post("/top-ups/", {**body, "provider": "none"}).status_code == 400
    assert olive_rest.post("/top-ups/", {**body, "currency": "EUR"}).status_code == 400
    assert olive_rest.post("/top-ups/", {**body, "reference": ""}).status_code == 400


def test_the_same_idempotency_key_credits_once(olive_rest, acme):
    body = {"tenant": acme.public_id, "amount": "5", "currency": "CNY", "reason": "welcome"}
    headers = {"Idempotency-Key": "one"}
    for _ in range(3):
        answer = olive_rest.post("/wallet/grant-credit/", body, headers=headers)
        assert answer.status_code == 200, answer.content
        assert answer.json()["others"][0]["balance"] == "5"
    assert (
        olive_rest.post("/wallet/grant-credit/", {**body, "amount": "6"}, headers=headers).status_code == 422
    )


def test_a_credit_line_extends_what_can_be_spent(olive_rest, alice_rest, acme, plan):
    subscribed(olive_rest, acme, plan)
    body = {"tenant": acme.public_id, "limit": "100", "currency": "CNY", "reason": "contract 7"}
    assert olive_rest.post("/wallet/set-credit-line/", body).status_code == 200
    assert alice_rest.get("/wallet/").json()["current"]["spendable"] == "100"


def test_a_correction_takes_two(olive_rest, other_rest, sam_rest, alice_rest, acme):
    body = {"tenant": acme.public_id, "amount": "3", "currency": "CNY", "reason": "a mistake"}
    asked = olive_rest.post("/corrections/", body)
    assert asked.status_code == 201, asked.content
    path = f"/corrections/{asked.json()['id']}"
    assert olive_rest.post(f"{path}/approve/").status_code == 403
    assert sam_rest.post(f"{path}/approve/").status_code == 403
    approved = other_rest.post(f"{path}/approve/").json()
    assert approved["state"] == "approved"
    entry = alice_rest.get(f"/ledger/{approved['transaction']}/").json()
    assert entry["reason"] == "a mistake"
    assert entry["approver"]
    assert {side["account"]: side["amount"] for side in entry["entries"]} == {
        "wallet": "3",
        "adjustments": "-3",
    }
    assert other_rest.post(f"{path}/reject/", {"reason": "too late"}).status_code == 409
    assert alice_rest.get(f"{path}/").json()["state"] == "approved"


def test_a_correction_takes_no_more_than_there_is(olive_rest, other_rest, acme):
    body = {"tenant": acme.public_id, "amount": "-3", "currency": "CNY", "reason": "a mistake"}
    path = f"/corrections/{olive_rest.post('/corrections/', body).json()['id']}"
    assert other_rest.post(f"{path}/approve/").status_code == 409
    assert other_rest.post(f"{path}/reject/", {"reason": "no"}).json()["state"] == "rejected"


def test_a_transaction_leads_to_the_requests_that_it_charged_for(alice_rest, charlie_rest, acme):
    world.priced(acme)
    world.fund(acme, 10**9)
    world.granted(acme, 10**6)
    held = {"price": world.price_id(acme), "hold_nano": 10**6, "epoch": world.EPOCH}
    settle([world.note(acme, f"req-{n}", **held) for n in range(3)])
    (usage,) = alice_rest.get("/ledger/?kind=usage").json()["results"]
    page = alice_rest.get(f"/ledger/{usage['id']}/requests/?page_size=2").json()
    assert len(page["results"]) == 2
    assert page["next"]
    assert charlie_rest.get(f"/ledger/{usage['id']}/requests/").status_code == 404


def test_the_wallet_of_another_tenant_is_absent(alice_rest, globex, acme):
    assert alice_rest.get(f"/wallet/?tenant={acme.public_id}").status_code == 200
    assert alice_rest.get(f"/wallet/?tenant={globex.public_id}").status_code == 404


def test_keys_of_programs_may_read_and_move_nothing(acme):
    payment = PaymentFactory(tenant=acme)
    program = with_key(acme, "read", "manage")
    assert program.get("/wallet/").status_code == 200
    assert program.post(f"/top-ups/{payment.public_id}/confirm/").status_code == 403
