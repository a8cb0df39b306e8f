"""Keys and members in the console: from the form to the row, by each role, with everybody's payloads as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation

from access.models import APIKey
from access.selectors import key_by_secret
from accounts.models import User
from audit.models import AuditEvent
from core import clock
from core.scoping import platform_scope, tenant_scope
from tenants.models import Membership, Tenant
from tests.factories.access import APIKeyFactory
from tests.factories.accounts import UserFactory

KEYS, NEW, MEMBERS = reverse("tenant:keys"), reverse("tenant:key-new"), reverse("tenant:members")
XSS = "<img src=x onerror=alert(1)>"


def made(client: Client, **changes: Any) -> Any:
    return client.post(NEW, {"name": "CI", "scopes": ["invoke"], "lifetime": "90", **changes})


def test_a_new_key_is_shown_once_and_works(alice_client: Client, acme: Tenant) -> None:
    answer = made(alice_client)
    page = answer.content.decode()
    (secret,) = re.findall(r"<code data-secret>(atr-[^<]+)</code>", page)
    assert answer.status_code == 201
    assert "no-store" in answer["Cache-Control"]
    key = key_by_secret(secret)
    assert key is not None
    assert (key.name, key.scopes) == ("CI", ["invoke"])
    assert key.expires_at is not None
    assert timedelta(days=89) < key.expires_at - clock.now() <= timedelta(days=90)
    rest = secret.rpartition("-")[2]
    for url in (KEYS, reverse("tenant:key", args=[key.public_id])):
        shown = alice_client.get(url).content.decode()
        assert "CI" in shown
        assert rest not in shown, "the secret is in one answer only"
    with tenant_scope(acme.pk):
        assert AuditEvent.objects.filter(action="access.key.created").exists()


def test_all_that_a_key_may_be_given_arrives(alice_client: Client, acme: Tenant) -> None:
    made(
        alice_client,
        scopes=["invoke", "read"],
        allowed_networks="203.0.113.0/24\n2001:db8::/32",
        lifetime="date",
        last_day="2027-03-01",
    )
    with tenant_scope(acme.pk):
        key = APIKey.objects.get()
    assert key.scopes == ["invoke", "read"]
    assert key.allowed_networks == ["203.0.113.0/24", "2001:db8::/32"]
    assert key.expires_at is not None
    assert key.expires_at.isoformat() == "2027-03-02T00:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"scopes": []}, "scopes"),
        ({"allowed_networks": "300.1.1.1"}, "allowed_networks"),
        ({"allowed_models": ["someone-elses"]}, "allowed_models"),
        ({"lifetime": "date"}, "last_day"),
        ({"lifetime": "date", "last_day": "2020-01-01"}, ""),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_made(
    alice_client: Client, acme: Tenant, changes: dict[str, Any], field: str
) -> None:
    answer = made(alice_client, **changes)
    assert answer.status_code == 422
    assert 'class="problem"' in answer.content.decode() or "note bad" in answer.content.decode()
    assert not field or field in answer.context["form"].errors
    with tenant_scope(acme.pk):
        assert not APIKey.objects.exists()


def test_nobody_makes_a_key_that_opens_more_than_they_may(bob_client: Client, acme: Tenant) -> None:
    assert "more than your role may give" in bob_client.get(NEW).content.decode()
    assert made(bob_client, scopes=["manage"]).status_code == 422
    with tenant_scope(acme.pk):
        assert not APIKey.objects.exists()


def test_rotation_shows_the_successor_and_keeps_the_old_for_a_while(
    alice_client: Client, acme: Tenant
) -> None:
    key = APIKeyFactory(tenant=acme)
    answer = alice_client.post(reverse("tenant:key-rotate", args=[key.public_id]), {"overlap_s": "3600"})
    assert answer.status_code == 201
    (secret,) = re.findall(r"<code data-secret>(atr-[^<]+)</code>", answer.content.decode())
    new = key_by_secret(secret)
    assert new is not None
    with tenant_scope(acme.pk):
        old = APIKey.objects.get(pk=key.pk)
    assert old.rotated_to_id == new.pk
    assert old.expires_at is not None
    assert old.expires_at - clock.now() <= timedelta(hours=1)
    again = alice_client.post(
        reverse("tenant:key-rotate", args=[key.public_id]), {"overlap_s": "0"}, follow=True
    )
    assert "rotated already" in again.content.decode()


def test_a_revoked_key_is_out_of_the_list_and_says_so(alice_client: Client, acme: Tenant) -> None:
    key = APIKeyFactory(tenant=acme, name="leaky")
    url = reverse("tenant:key-revoke", args=[key.public_id])
    page = alice_client.post(url, {"reason": "leaked"}, follow=True).content.decode()
    assert "is revoked" in page
    assert "leaky" not in alice_client.get(KEYS).content.decode()
    assert "leaky" in alice_client.get(KEYS, {"state": "revoked"}).content.decode()
    with tenant_scope(acme.pk):
        assert AuditEvent.objects.get(action="access.key.revoked").reason == "leaked"


def test_the_list_is_searched_by_name_and_prefix_and_stands_still_for_anything(
    alice_client: Client, acme: Tenant
) -> None:
    one, other = APIKeyFactory(tenant=acme, name="alpha"), APIKeyFactory(tenant=acme, name="beta")
    for wanted in ("LPHA", one.prefix, f"atr-{one.prefix}"):
        page = alice_client.get(KEYS, {"q": wanted}).content.decode()
        assert "alpha" in page
        assert other.name not in page
    for odd in ("%", "'", "\x00", "x" * 5_000):
        assert alice_client.get(KEYS, {"q": odd, "page": odd, "state": odd}).status_code == 200
    assert "No key matches" in alice_client.get(KEYS, {"q": "%"}).content.decode()


def test_another_tenants_key_does_not_exist(alice_client: Client, globex: Tenant) -> None:
    theirs = APIKeyFactory(tenant=globex, name="theirs")
    assert "theirs" not in alice_client.get(KEYS, {"state": "all"}).content.decode()
    assert alice_client.get(reverse("tenant:key", args=[theirs.public_id])).status_code == 404
    for name in ("tenant:key-rotate", "tenant:key-revoke"):
        assert (
            alice_client.post(reverse(name, args=[theirs.public_id]), {"overlap_s": "0"}).status_code == 404
        )
    with platform_scope(reason="tests"):
        assert APIKey.objects.get(pk=theirs.pk).revoked_at is None


def test_what_a_role_may_not_do_is_neither_shown_nor_done(
    dana_client: Client, bob_client: Client, acme: Tenant, bob: User
) -> None:
    key = APIKeyFactory(tenant=acme)
    page = dana_client.get(reverse("console:home")).content.decode()
    assert KEYS not in page, "a viewer sees no keys"
    assert dana_client.get(KEYS).status_code == 403
    assert dana_client.get(NEW).status_code == 403
    assert dana_client.post(reverse("tenant:key-revoke", args=[key.public_id])).status_code == 403
    members = bob_client.get(MEMBERS).content.decode()
    assert "Add a member" not in members
    assert "Leave" in members
    assert "Remove" not in members
    with tenant_scope(acme.pk):
        his = Membership.objects.get(user=bob)
    refused = bob_client.post(reverse("tenant:member-role", args=[his.public_id]), {"role": "owner"})
    assert refused.status_code == 403
    with tenant_scope(acme.pk):
        assert Membership.objects.get(user=bob).role == "developer"


@pytest.mark.parametrize(
    "name", ["tenant:keys", "tenant:key-new", "tenant:members", "billing:usage", "billing:money"]
)
def test_strangers_sign_in_first_and_people_without_a_tenant_go_home(
    client: Client, sign_in: Callable[..., Client], db: None, name: str
) -> None:
    url = reverse(name)
    assert client.get(url)["Location"].startswith(reverse("console:sign-in"))
    assert sign_in(UserFactory()).get(url)["Location"] == reverse("console:home")


def test_members_are_added_changed_and_removed(alice_client: Client, acme: Tenant) -> None:
    nora = UserFactory(email="nora@acme.example")
    page = alice_client.post(MEMBERS, {"email": "NORA@acme.example", "role": "viewer"}, follow=True)
    assert "nora@acme.example is a member now" in page.content.decode()
    with tenant_scope(acme.pk):
        member = Membership.objects.get(user=nora)
    alice_client.post(reverse("tenant:member-role", args=[member.public_id]), {"role": "billing"})
    with tenant_scope(acme.pk):
        assert Membership.objects.get(user=nora).role == "billing"
    alice_client.post(reverse("tenant:member-remove", args=[member.public_id]))
    with tenant_scope(acme.pk):
        assert not Membership.objects.filter(user=nora).exists()


def test_the_last_owner_stays(alice_client: Client, acme: Tenant, alice: User) -> None:
    with tenant_scope(acme.pk):
        own = Membership.objects.get(user=alice)
    page = alice_client.post(
        reverse("tenant:member-remove", args=[own.public_id]), follow=True
    ).content.decode()
    assert "A tenant needs an owner" in page
    with tenant_scope(acme.pk):
        assert Membership.objects.filter(user=alice).exists()


@pytest.mark.parametrize(
    "given", [{"email": "nobody@example.org", "role": "viewer"}, {"email": "x", "role": "king"}]
)
def test_who_cannot_be_added_is_said_beside_the_field(alice_client: Client, given: dict[str, str]) -> None:
    answer = alice_client.post(MEMBERS, given)
    assert answer.status_code == 422
    assert "email" in answer.context["form"].errors


def test_another_tenants_member_does_not_exist(alice_client: Client, globex: Tenant, charlie: User) -> None:
    with tenant_scope(globex.pk):
        theirs = Membership.objects.get(user=charlie)
    for name in ("tenant:member-role", "tenant:member-remove"):
        assert (
            alice_client.post(reverse(name, args=[theirs.public_id]), {"role": "viewer"}).status_code == 404
        )


def test_what_people_call_things_is_text(alice_client: Client, acme: Tenant) -> None:
    key = APIKeyFactory(tenant=acme, name=XSS, allowed_models=[XSS])
    for url in (KEYS, reverse("tenant:key", args=[key.public_id]), f"{KEYS}?q={XSS}", f"{MEMBERS}?q={XSS}"):
        assert "<img src=x" not in alice_client.get(url).content.decode()


def test_pages_speak_chinese(alice_client: Client, acme: Tenant) -> None:
    key = APIKeyFactory(tenant=acme)
    with translation.override("zh-hans"):
        alice_client.cookies["django_language"] = "zh-hans"
        for url in (KEYS, NEW, MEMBERS, reverse("tenant:key", args=[key.public_id])):
            page = alice_client.get(url, headers={"Accept-Language": "zh-hans"}).content.decode()
            main = page.partition('<main id="main"')[2]
            assert re.search(r"[\u4e00-\u9fff]", main)
            assert not re.search(r">[A-Z][a-z]+ [a-z]+[ <]", main), re.findall(
                r">[A-Z][a-z]+ [a-z]+[ <]", main
            )


# --- The audit trail

AUDIT = reverse("tenant:audit")


def test_the_trail_shows_who_did_what_and_is_searched(alice_client: Client, acme: Tenant) -> None:
    made(alice_client)
    page = alice_client.get(AUDIT).content.decode()
    assert "access.key.created" in page
    assert "alice@acme.example" in page
    for wanted, hit in (
        ("KEY.CREATED", True),
        ("alice@", True),
        ("nothing like it", False),
        ("\x00%", False),
    ):
        part = alice_client.get(AUDIT, {"q": wanted}, headers={"HX-Request": "true"}).content.decode()
        assert ("access.key.created" in part) is hit
        assert "<html" not in part


def test_pages_of_the_trail_follow_each_other(
    alice_client: Client, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenants.pages.audit.PAGE", 2)
    for number in range(3):
        made(alice_client, name=f"key {number}")
    first = alice_client.get(AUDIT).content.decode()
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = alice_client.get(older.replace("&amp;", "&")).content.decode()
    assert "key 2" in first
    assert "key 0" in second
    assert "key 2" not in second
    assert alice_client.get(AUDIT, {"before": "evt_x"}).status_code == 200


def test_the_trail_is_for_admins_and_for_nobody_elses(
    bob_client: Client, charlie_client: Client, alice_client: Client, acme: Tenant
) -> None:
    made(alice_client, name="only acme's")
    assert bob_client.get(AUDIT).status_code == 403
    assert bob_client.post(reverse("tenant:audit-verify")).status_code == 403
    assert "only acme" not in charlie_client.get(AUDIT).content.decode()
