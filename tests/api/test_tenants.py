"""Tenants and members through REST."""

from __future__ import annotations

import pytest

from audit.models import AuditEvent
from core.scoping import platform_scope
from tests.api.client import with_key
from tests.factories.accounts import UserFactory


def test_an_operator_makes_a_tenant_with_its_owner(olive_rest):
    UserFactory(email="founder@new.example")
    made = olive_rest.post(
        "/tenants/", {"slug": "newco", "name": "New Co", "owner_email": "Founder@new.example"}
    )
    assert made.status_code == 201, made.content
    assert made.json()["status"] == "active"
    assert made["Location"] == f"/api/v1/tenants/{made.json()['id']}/"
    assert olive_rest.get(made["Location"]).json() == made.json()


def test_an_owner_without_an_account_is_named(olive_rest):
    answer = olive_rest.post(
        "/tenants/", {"slug": "newco", "name": "New", "owner_email": "nobody@new.example"}
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "owner_email"


def test_a_slug_is_taken_once(olive_rest, acme):
    answer = olive_rest.post("/tenants/", {"slug": "acme", "name": "Second"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "slug_taken"


def test_an_operator_sees_all_tenants_and_the_trail_says_so(olive_rest, olive, acme, globex):
    listed = olive_rest.get("/tenants/").json()["results"]
    assert {row["slug"] for row in listed} == {"acme", "globex"}
    with platform_scope("tests"):
        event = AuditEvent.objects.get(action="audit.platform.accessed")
    assert event.actor_id == olive.pk
    assert event.after == {"what": "GET /api/v1/tenants/"}


def test_a_member_sees_their_own_tenant_only(alice_rest, acme, globex):
    listed = alice_rest.get("/tenants/").json()["results"]
    assert [row["slug"] for row in listed] == ["acme"]
    assert alice_rest.get(f"/tenants/{acme.public_id}/").status_code == 200
    assert alice_rest.get(f"/tenants/{globex.public_id}/").status_code == 404


def test_a_tenant_is_suspended_resumed_and_closed_with_a_reason(olive_rest, alice_rest, acme):
    path = f"/tenants/{acme.public_id}"
    assert olive_rest.post(f"{path}/suspend/", {}).status_code == 400
    assert olive_rest.post(f"{path}/suspend/", {"reason": "unpaid"}).json()["status"] == "suspended"
    assert alice_rest.get("/keys/").status_code == 403  # a suspended tenant's people may look like viewers
    assert alice_rest.post("/keys/", {"name": "x", "scopes": ["invoke"]}).status_code == 403
    assert olive_rest.post(f"{path}/resume/", {"reason": "paid"}).json()["status"] == "active"
    assert alice_rest.get("/keys/").status_code == 200
    assert olive_rest.post(f"{path}/close/", {"reason": "left"}).json()["status"] == "closing"
    assert olive_rest.post(f"{path}/resume/", {"reason": "back"}).status_code == 409


def test_a_suspended_tenants_key_is_told_why(acme, olive_rest):
    program = with_key(acme, "read", "manage")
    olive_rest.post(f"/tenants/{acme.public_id}/suspend/", {"reason": "unpaid"})
    answer = program.get("/me/")
    assert answer.status_code == 403
    assert answer.json()["code"] == "tenant_suspended"


def test_an_owner_renames_and_nothing_else(alice_rest, acme):
    path = f"/tenants/{acme.public_id}/"
    assert alice_rest.patch(path, {"name": "Acme & Co"}).json()["name"] == "Acme & Co"
    for field in ("slug", "status", "group", "id"):
        assert alice_rest.patch(path, {field: "x"}).status_code == 400
    assert alice_rest.put(path, {"name": "x"}).status_code == 405
    assert alice_rest.delete(path).status_code == 405


def test_members_are_added_changed_and_removed(alice_rest, acme):
    UserFactory(email="new@acme.example", name="New")
    added = alice_rest.post("/members/", {"email": "NEW@acme.example", "role": "viewer"})
    assert added.status_code == 201, added.content
    path = f"/members/{added.json()['id']}/"
    assert alice_rest.patch(path, {"role": "developer"}).json()["role"] == "developer"
    assert alice_rest.get("/members/?role=developer").json()["results"][0]["email"] == "new@acme.example"
    gone = alice_rest.delete(path)
    assert gone.status_code == 204
    assert gone.content == b""
    assert alice_rest.get(path).status_code == 404


def test_the_last_owner_stays(alice_rest, alice):
    (row,) = alice_rest.get("/members/?email=alice@acme.example").json()["results"]
    answer = alice_rest.patch(f"/members/{row['id']}/", {"role": "viewer"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "last_owner"


def test_everybody_may_leave_and_nobody_else_is_sent_away(dana_rest, alice, dana):
    rows = {row["email"]: row for row in dana_rest.get("/members/").json()["results"]}
    assert dana_rest.delete(f"/members/{rows['alice@acme.example']['id']}/").status_code == 403
    assert dana_rest.delete(f"/members/{rows['dana@acme.example']['id']}/").status_code == 204


@pytest.mark.parametrize("field", ["tenant", "user", "id", "platform_role", "is_staff"])
def test_nobody_makes_themselves_more_than_they_are(alice_rest, field):
    UserFactory(email="new@acme.example")
    body = {"email": "new@acme.example", "role": "viewer", field: "operator"}
    assert alice_rest.post("/members/", body).status_code == 400
