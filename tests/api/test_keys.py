"""API keys through REST."""

from __future__ import annotations

import pytest

from access.models import APIKey
from access.secrets import looks_right
from audit.models import AuditEvent
from core.scoping import platform_scope
from tests.api.client import REST
from tests.factories.access import APIKeyFactory

NEW = {
    "name": "ci",
    "scopes": ["invoke"],
    "allowed_networks": ["203.0.113.0/24"],
    "allowed_models": ["atrium"],
}


def test_creating_shows_the_secret_once(alice_rest, acme):
    made = alice_rest.post("/keys/", NEW)
    assert made.status_code == 201, made.content
    body = made.json()
    assert looks_right(body["secret"])
    assert body["scopes"] == ["invoke"]
    assert body["state"] == "active"
    assert body["created_by"] == "alice@acme.example"
    assert made["Location"] == f"/api/v1/keys/{body['id']}/"
    again = alice_rest.get(made["Location"])
    assert "secret" not in again.json()
    assert body["secret"] not in str(alice_rest.get("/keys/").content)
    assert {k: v for k, v in body.items() if k != "secret"} == again.json()


def test_the_digest_is_nowhere_to_be_seen(alice_rest, acme):
    key = APIKeyFactory(tenant=acme)
    assert key.digest not in str(alice_rest.get("/keys/").content)
    assert key.digest not in str(alice_rest.get(f"/keys/{key.public_id}/").content)


def test_rotating_gives_a_successor_and_an_overlap(alice_rest, acme):
    key = APIKeyFactory(tenant=acme)
    turned = alice_rest.post(f"/keys/{key.public_id}/rotate/", {"overlap_s": 60})
    assert turned.status_code == 201
    assert looks_right(turned.json()["secret"])
    old = alice_rest.get(f"/keys/{key.public_id}/").json()
    assert old["rotated_to"] == turned.json()["id"]
    assert old["expires_at"] is not None
    assert alice_rest.post(f"/keys/{key.public_id}/rotate/", {}).status_code == 409


def test_revoking_needs_no_reason_and_keeps_one(alice_rest, acme):
    key = APIKeyFactory(tenant=acme)
    answer = alice_rest.post(f"/keys/{key.public_id}/revoke/", {"reason": "leaked"})
    assert answer.status_code == 200
    assert answer.json()["state"] == "revoked"
    with platform_scope("tests"):
        event = AuditEvent.objects.get(action="access.key.revoked")
    assert event.reason == "leaked"
    assert event.request_id == answer["x-request-id"]
    assert event.actor_label == "alice@acme.example"


def test_a_key_manages_keys_only_within_its_own_bounds(acme_rest):
    assert acme_rest.post("/keys/", {"name": "narrow", "scopes": ["read"]}).status_code == 201
    refused = acme_rest.post("/keys/", {"name": "wide", "scopes": ["invoke"]})
    assert refused.status_code == 403
    assert refused.json()["code"] == "scope_too_wide"
    assert refused.json()["errors"][0]["field"] == "scopes"


def test_a_reading_key_changes_nothing(reading_rest):
    assert reading_rest.get("/keys/").status_code == 200
    refused = reading_rest.post("/keys/", {"name": "x", "scopes": ["read"]})
    assert refused.status_code == 403
    assert refused.json()["code"] == "scope_missing"


def test_keys_are_filtered_by_state(alice_rest, acme):
    live, dead = APIKeyFactory(tenant=acme), APIKeyFactory(tenant=acme)
    alice_rest.post(f"/keys/{dead.public_id}/revoke/", {})
    active = alice_rest.get("/keys/?state=active").json()["results"]
    revoked = alice_rest.get("/keys/?state=revoked").json()["results"]
    assert [row["id"] for row in active] == [live.public_id]
    assert [row["id"] for row in revoked] == [dead.public_id]


@pytest.mark.slow
def test_a_forged_or_revoked_key_is_nobody(acme, alice_rest):
    made = alice_rest.post("/keys/", {"name": "short-lived", "scopes": ["read"]}).json()
    program = REST(key=made["secret"])
    assert program.get("/me/").status_code == 200
    alice_rest.post(f"/keys/{made['id']}/revoke/", {})
    for key in (made["secret"], made["secret"][:-1] + "0", "atr-nonsense", "' OR 1=1 --"):
        answer = REST(key=key).get("/me/")
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="atrium"'
        assert answer.json()["code"] == "bad_credential"
        assert key not in answer.content.decode()


def test_a_key_beside_a_session_counts_alone(charlie_client, acme):
    from tests.api.client import with_key

    program = with_key(acme, "read")
    program.client = charlie_client
    me = program.get("/me/").json()
    assert me["kind"] == "key"
    assert me["tenant"]["slug"] == "acme"
    assert me["memberships"] == []


def test_the_list_holds_no_more_than_a_page(alice_rest, acme):
    keys = [APIKeyFactory(tenant=acme) for _ in range(5)]
    first = alice_rest.get("/keys/?page_size=2").json()
    assert [row["id"] for row in first["results"]] == [keys[4].public_id, keys[3].public_id]
    assert first["previous"] is None
    APIKeyFactory(tenant=acme)  # what is added meanwhile moves no page
    second = alice_rest.get("/" + first["next"].split("/", 3)[3]).json()
    assert [row["id"] for row in second["results"]] == [keys[2].public_id, keys[1].public_id]
    assert APIKey.unscoped is not None
