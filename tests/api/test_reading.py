"""Lists: pages, cursors and filters; and who oneself is."""

from __future__ import annotations

import pytest

from access.policies import PERMISSIONS
from tests.api.client import REST
from tests.factories.access import APIKeyFactory
from tests.factories.accounts import UserFactory
from tests.factories.audit import AuditEventFactory


def test_a_filter_that_does_not_exist_is_an_error(alice_rest):
    answer = alice_rest.get("/keys/?stat=active")
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"field": "stat", "message": "There is no such filter.", "code": "unknown"}
    ]


def test_a_filter_given_twice_is_an_error(alice_rest):
    assert alice_rest.get("/keys/?state=active&state=revoked").status_code == 400


@pytest.mark.parametrize(
    "query", ["state=sleeping", "page_size=0", "page_size=201", "page_size=many", "cursor=x"]
)
def test_a_value_that_makes_no_sense_is_an_error(alice_rest, query):
    answer = alice_rest.get(f"/keys/?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]


@pytest.mark.parametrize(
    "cursor",
    ["cD1ub3QtYS11dWlk", "cj0xJnA9MQ==", "eD0x", "%00", "=" * 100, "x" * 5000],
)
def test_a_forged_cursor_is_an_error(alice_rest, acme, cursor):
    APIKeyFactory(tenant=acme)
    assert alice_rest.get(f"/keys/?cursor={cursor}").status_code == 400


def test_one_object_takes_no_filter(alice_rest, acme):
    key = APIKeyFactory(tenant=acme)
    assert alice_rest.get(f"/keys/{key.public_id}/?expand=tenant").status_code == 400


def test_a_wildcard_stands_for_itself(alice_rest, acme):
    APIKeyFactory(tenant=acme, name="plain")
    percent = APIKeyFactory(tenant=acme, name="100% sure")
    found = alice_rest.get("/keys/?name=%25").json()["results"]
    assert [row["id"] for row in found] == [percent.public_id]
    assert alice_rest.get("/keys/?name=" + "%25_" * 100).status_code == 400


def test_a_page_costs_the_same_however_many_rows(alice_rest, acme, django_assert_max_num_queries):
    APIKeyFactory(tenant=acme, created_by=UserFactory())
    with django_assert_max_num_queries(20) as few:
        alice_rest.get("/keys/")
    for _ in range(5):
        APIKeyFactory(tenant=acme, created_by=UserFactory())
    with django_assert_max_num_queries(len(few)):
        assert len(alice_rest.get("/keys/").json()["results"]) == 6


def test_nothing_is_kept_by_caches(alice_rest):
    assert alice_rest.get("/keys/")["Cache-Control"] == "no-store"


def test_me_as_a_person(alice_rest, alice, acme):
    me = alice_rest.get("/me/").json()
    assert me["kind"] == "person"
    assert me["person"]["email"] == "alice@acme.example"
    assert me["tenant"]["slug"] == "acme"
    assert me["role"] == "owner"
    assert [m["tenant"]["slug"] for m in me["memberships"]] == ["acme"]
    assert "access.key.create" in me["permissions"]
    assert "tenants.tenant.create" not in me["permissions"]
    assert set(me["permissions"]) <= set(PERMISSIONS)
    assert "password" not in str(me)


def test_me_as_a_key(reading_rest):
    me = reading_rest.get("/me/").json()
    assert me["kind"] == "key"
    assert me["person"] is None
    assert me["key"]["scopes"] == ["read"]
    assert "access.key.read" in me["permissions"]
    assert "access.key.create" not in me["permissions"]


def test_me_without_a_tenant(db, sign_in):
    me = REST(sign_in(UserFactory())).get("/me/").json()
    assert me["tenant"] is None
    assert me["permissions"] == []


def test_people_without_a_tenant_see_nothing(db, sign_in):
    rest = REST(sign_in(UserFactory()))
    for path in ("/keys/", "/members/", "/audit-events/", "/tenants/"):
        answer = rest.get(path)
        assert answer.status_code == 403, path


def test_an_operator_without_a_tenant_is_told_so(olive_rest):
    answer = olive_rest.get("/keys/")
    assert answer.status_code == 403
    assert answer.json()["code"] == "no_tenant"


def test_the_trail_is_filtered_by_action_and_target(alice_rest, acme):
    key = APIKeyFactory(tenant=acme)
    alice_rest.post(f"/keys/{key.public_id}/revoke/", {})
    AuditEventFactory(tenant=acme)
    by_action = alice_rest.get("/audit-events/?action=access.key.revoked").json()["results"]
    by_family = alice_rest.get("/audit-events/?action=access.").json()["results"]
    by_target = alice_rest.get(f"/audit-events/?target={key.public_id}").json()["results"]
    assert len(by_action) == 1
    assert by_action == by_family == by_target
    assert by_action[0]["actor"] == "alice@acme.example"
    one = alice_rest.get(f"/audit-events/{by_action[0]['id']}/")
    assert one.json() == by_action[0]


def test_staff_addresses_are_not_told_to_tenants(alice_rest, olive_rest, acme):
    olive_rest.post(f"/tenants/{acme.public_id}/suspend/", {"reason": "unpaid"})
    olive_rest.post(f"/tenants/{acme.public_id}/resume/", {"reason": "paid"})
    path = "/audit-events/?action=tenants.tenant.suspended"
    seen = alice_rest.get(path).json()["results"][0]
    assert seen["actor_role"] == "operator"
    assert seen["address"] == ""
    assert olive_rest.get(path).json()["results"][0]["address"] == "127.0.0.1"
