"""A browser's session as the way in: forged requests are refused, other tenants' rows stay out of reach."""

from __future__ import annotations

from django.test import Client

from tests.api.client import REST

NEW = {"name": "ci", "scopes": ["invoke"]}
BACKEND = "accounts.backends.ThrottledModelBackend"


def test_a_change_needs_the_csrf_token(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend=BACKEND)
    rest = REST(client)
    assert rest.get("/keys/").status_code == 200
    refused = rest.post("/keys/", NEW)
    assert refused.status_code == 403
    assert refused.json()["code"] == "not_allowed"
    client.get("/api/docs/")
    token = client.cookies["csrftoken"].value
    assert rest.post("/keys/", NEW, headers={"X-CSRFToken": token}).status_code == 201


def test_a_key_needs_none(acme):
    from tests.api.client import with_key

    program = with_key(acme, "read", "manage")
    program.client = Client(enforce_csrf_checks=True)
    assert program.post("/keys/", {"name": "x", "scopes": ["read"]}).status_code == 201


def test_headers_choose_no_tenant(alice_rest, globex, charlie):
    me = alice_rest.get("/me/", headers={"X-Tenant": "globex", "X-Tenant-Id": str(globex.pk)}).json()
    assert me["tenant"]["slug"] == "acme"


def test_an_account_that_was_switched_off_is_nobody(alice_rest, alice):
    alice.is_active = False
    alice.save()
    assert alice_rest.get("/me/").status_code == 401


def test_a_membership_that_ended_ends_access(alice_rest, bob_rest, bob):
    rows = alice_rest.get("/members/?email=bob@acme.example").json()["results"]
    assert bob_rest.get("/keys/").status_code == 200
    assert alice_rest.delete(f"/members/{rows[0]['id']}/").status_code == 204
    assert bob_rest.get("/keys/").status_code == 403
