"""The door between requests and tenants."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client

from access import secrets
from access.models import APIKey
from access.services import usage
from accounts.models import User
from accounts.services import users
from audit.models import AuditEvent
from core import clock
from core.actors import Actor
from core.errors import NotFound
from core.scoping import Scope, ScopeError, current_scope, current_tenant_id, platform_scope, tenant_scope
from core.valkey import sync_client
from tenants.middleware import SESSION_KEY, switch_tenant
from tenants.models import Membership, Tenant
from tenants.services import members, tenants
from tests.factories.access import APIKeyFactory
from tests.factories.tenants import MembershipFactory

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.tenants.urls")]


@pytest.fixture(autouse=True)
def keys(acme: Tenant, globex: Tenant) -> list[APIKey]:
    """One key of each tenant, to be seen or not."""
    return [APIKeyFactory(tenant=acme, name="of acme"), APIKeyFactory(tenant=globex, name="of globex")]


def page(client: Client, path: str = "/page/", **extra: Any) -> dict[str, Any]:
    """What a view sees."""
    response = client.get(path, **extra)
    assert response.status_code == 200
    return response.json()


def with_key(secret: str, path: str = "/api/page/", method: str = "get", **extra: Any) -> dict[str, Any]:
    """What a view sees when a program asks."""
    extra.setdefault("headers", {"Authorization": f"Bearer {secret}"})
    return getattr(Client(enforce_csrf_checks=False), method)(path, **extra).json()


class TestPeople:
    """Signed-in people."""

    def test_a_member_is_in_their_tenant(self, alice: User, alice_client: Client, acme: Tenant) -> None:
        found = page(alice_client)
        assert (found["tenant"], found["scope"], found["door"]) == ("acme", str(acme.pk), False)
        assert found["actor"] == ["person", alice.email, "owner", ""]
        assert found["keys"] == ["of acme"]
        assert found["address"] == "127.0.0.1"

    def test_the_scope_ends_with_the_view(self, alice_client: Client) -> None:
        page(alice_client)
        with pytest.raises(ScopeError):
            current_tenant_id()

    def test_a_stranger_is_nowhere(self) -> None:
        found = page(Client())
        assert (found["tenant"], found["scope"], found["actor"], found["keys"]) == (None, None, None, None)

    def test_somebody_without_a_tenant_is_nowhere(self, olive_client: Client, olive: User) -> None:
        found = page(olive_client)
        assert (found["tenant"], found["scope"]) == (None, None)
        assert found["actor"] == ["person", olive.email, "", "operator"]

    def test_a_person_of_two_tenants_is_in_the_one_they_chose(
        self, alice: User, alice_client: Client, globex: Tenant
    ) -> None:
        MembershipFactory(tenant=globex, user=alice, role="viewer")
        assert page(alice_client)["tenant"] == "acme"
        session = alice_client.session
        session[SESSION_KEY] = str(globex.pk)
        session.save()
        found = page(alice_client)
        assert (found["tenant"], found["actor"][2], found["keys"]) == ("globex", "viewer", ["of globex"])

    @pytest.mark.parametrize("chosen", ["", "nonsense", 7, None])
    def test_what_the_session_says_counts_only_for_members(
        self, alice_client: Client, globex: Tenant, chosen: object
    ) -> None:
        for value in (str(globex.pk), chosen):
            session = alice_client.session
            session[SESSION_KEY] = value
            session.save()
            assert page(alice_client)["tenant"] == "acme"

    def test_no_header_path_or_query_chooses_a_tenant(self, alice_client: Client, globex: Tenant) -> None:
        """Attack 12."""
        names = ("X-Tenant", "X-Tenant-Id", "Tenant", "X-Forwarded-User", "OpenAI-Organization")
        headers = {name: str(globex.pk) for name in names}
        found = page(alice_client, f"/page/?tenant={globex.slug}&tenant_id={globex.pk}", headers=headers)
        assert (found["tenant"], found["keys"]) == ("acme", ["of acme"])

    def test_a_removed_member_is_out_with_the_next_request(
        self, alice: User, bob: User, bob_client: Client, acme: Tenant, machine: Actor
    ) -> None:
        assert page(bob_client)["tenant"] == "acme"
        with tenant_scope(acme.pk):
            members.remove(membership=Membership.objects.get(user=bob), actor=machine)
        assert page(bob_client)["tenant"] is None

    def test_a_changed_role_counts_with_the_next_request(
        self, bob: User, bob_client: Client, acme: Tenant, machine: Actor
    ) -> None:
        assert page(bob_client)["actor"][2] == "developer"
        with tenant_scope(acme.pk):
            members.change_role(membership=Membership.objects.get(user=bob), role="viewer", actor=machine)
        assert page(bob_client)["actor"][2] == "viewer"

    def test_who_is_switched_off_or_has_a_new_password_is_out(
        self, alice: User, alice_client: Client, bob: User, bob_client: Client, machine: Actor
    ) -> None:
        assert page(alice_client)["actor"]
        assert page(bob_client)["actor"]
        users.set_active(user=alice, actor=machine, is_active=False)
        users.set_password(user=bob, actor=machine, password="a long enough sentence")
        assert page(alice_client)["actor"] is None
        assert page(bob_client)["actor"] is None

    def test_people_of_a_suspended_tenant_look_and_change_nothing(
        self, alice_client: Client, acme: Tenant, machine: Actor
    ) -> None:
        with platform_scope(reason="tests"):
            tenants.suspend(tenant=acme, actor=machine, reason="unpaid")
        found = page(alice_client)
        assert (found["tenant"], found["actor"][2], found["keys"]) == ("acme", "viewer", ["of acme"])

    def test_a_tenant_that_is_served_comes_before_one_that_is_not(
        self, alice: User, alice_client: Client, acme: Tenant, globex: Tenant, machine: Actor
    ) -> None:
        MembershipFactory(tenant=globex, user=alice, role="viewer")
        with platform_scope(reason="tests"):
            tenants.suspend(tenant=acme, actor=machine, reason="unpaid")
        assert page(alice_client)["tenant"] == "globex"

    def test_switching_needs_a_membership(
        self, alice: User, globex: Tenant, acme: Tenant, rf: Any, alice_client: Client
    ) -> None:
        request = rf.post("/")
        request.user, request.session = alice, {}
        with pytest.raises(NotFound):
            switch_tenant(request, tenant_id=globex.pk)
        assert request.session == {}
        MembershipFactory(tenant=globex, user=alice, role="viewer")
        assert switch_tenant(request, tenant_id=globex.pk).tenant == globex
        assert request.session == {SESSION_KEY: str(globex.pk)}


class TestPlatformDoor:
    """Views that look across tenants."""

    @pytest.mark.parametrize("path", ["/across/", "/across/class/", "/api/across/", "/admin/keys/"])
    def test_staff_see_all_rows_and_it_is_in_the_trail(
        self, path: str, olive: User, olive_client: Client
    ) -> None:
        found = page(olive_client, path)
        assert (found["tenant"], found["scope"], found["door"]) == (None, "platform", True)
        assert found["keys"] == ["of acme", "of globex"]
        with platform_scope(reason="tests"):
            event = AuditEvent.objects.get(action="audit.platform.accessed")
        assert (event.actor_id, event.after) == (olive.pk, {"what": f"GET {path}"})
        assert event.reason

    @pytest.mark.parametrize("path", ["/across/", "/across/class/", "/api/across/", "/admin/keys/"])
    def test_others_stay_behind_their_own_wall(self, path: str, alice_client: Client) -> None:
        found = page(alice_client, path)
        assert (found["tenant"], found["door"], found["keys"]) == ("acme", False, ["of acme"])
        assert page(Client(), path)["scope"] is None

    def test_support_passes_too_and_a_former_colleague_does_not(
        self, sam: User, sam_client: Client, machine: Actor
    ) -> None:
        assert page(sam_client, "/across/")["door"]
        users.set_platform_role(user=sam, actor=machine, platform_role="")
        assert not page(sam_client, "/across/")["door"]

    def test_a_view_that_does_not_declare_it_has_no_door(self, olive_client: Client) -> None:
        assert not page(olive_client, "/page/")["door"]

    def test_a_key_never_passes(self, acme: Tenant) -> None:
        secret = secrets.new_secret()
        APIKeyFactory(tenant=acme, secret=secret, scopes=["manage", "read"])
        found = with_key(secret, "/api/across/")
        assert (found["door"], found["keys"]) == (False, sorted(["of acme", found["actor"][1]]))

    def test_the_trail_keeps_a_visit_that_failed(self, olive_client: Client) -> None:
        olive_client.raise_request_exception = False
        assert olive_client.get("/fails/across/").status_code == 500
        with platform_scope(reason="tests"):
            assert AuditEvent.objects.filter(action="audit.platform.accessed").count() == 1

    def test_a_page_that_does_not_exist_opens_nothing(self, olive_client: Client) -> None:
        assert olive_client.get("/nothing/").status_code == 404


class TestFailures:
    """What a view leaves when it does not end well."""

    def test_a_view_that_breaks_leaves_nothing_half_done(
        self, alice_client: Client, keys: list[APIKey]
    ) -> None:
        alice_client.raise_request_exception = False
        assert alice_client.get("/fails/").status_code == 500
        with platform_scope(reason="tests"):
            assert APIKey.objects.get(pk=keys[0].pk).name == "of acme"

    def test_a_view_that_answers_keeps_what_it_did(self, alice_client: Client, keys: list[APIKey]) -> None:
        assert alice_client.get("/refuses/").status_code == 409
        with platform_scope(reason="tests"):
            assert APIKey.objects.get(pk=keys[0].pk).name == "done"


class TestPrograms:
    """Requests with an API key."""

    @pytest.fixture
    def secret(self) -> str:
        """A key's secret."""
        return secrets.new_secret()

    def test_a_key_is_in_its_tenant(self, acme: Tenant, secret: str) -> None:
        key = APIKeyFactory(tenant=acme, secret=secret, name="program", scopes=["read"])
        found = with_key(secret)
        assert (found["tenant"], found["scope"], found["error"]) == ("acme", str(acme.pk), None)
        assert (found["actor"], found["scopes"]) == (["key", "program", "", ""], ["read"])
        assert found["keys"] == ["of acme", "program"]
        assert sync_client().hget(usage.KEY_USE, str(key.pk)) is not None

    def test_a_key_counts_in_the_management_api_only(self, acme: Tenant, secret: str) -> None:
        APIKeyFactory(tenant=acme, secret=secret, scopes=["read", "manage"])
        assert with_key(secret, "/page/")["actor"] is None

    def test_a_key_and_a_session_do_not_add_up(
        self, alice_client: Client, globex: Tenant, secret: str
    ) -> None:
        APIKeyFactory(tenant=globex, secret=secret, name="program", scopes=["read"])
        found = page(alice_client, "/api/page/", headers={"Authorization": f"Bearer {secret}"})
        assert (found["tenant"], found["user"]) == ("globex", "AnonymousUser")
        wrong = page(alice_client, "/api/page/", headers={"Authorization": "Bearer atr-wrong"})
        assert (wrong["tenant"], wrong["actor"], wrong["user"]) == (None, None, "AnonymousUser")

    def test_unknown_revoked_expired_and_misplaced_keys_sound_alike(self, acme: Tenant) -> None:
        """Attack 10, and no hint for who tries keys out."""
        now = clock.now()
        several = {
            "revoked": {"revoked_at": now - timedelta(seconds=1)},
            "expired": {"expires_at": now - timedelta(seconds=1)},
            "misplaced": {"allowed_networks": ["203.0.113.0/24"]},
        }
        tried = ["", "x", "atr-", "' OR 1=1 --", secrets.new_secret()]
        for fields in several.values():
            tried.append(secrets.new_secret())
            APIKeyFactory(tenant=acme, secret=tried[-1], scopes=["read", "manage"], **fields)
        answers = [with_key(secret) for secret in tried]
        assert {tuple(found["error"]) for found in answers} == {
            ("BadCredential", "bad_credential", "The API key is not valid.")
        }
        assert {found["actor"] for found in answers} == {None}
        assert {found["keys"] for found in answers} == {None}

    def test_a_key_from_the_right_network_is_taken(self, acme: Tenant, secret: str) -> None:
        APIKeyFactory(tenant=acme, secret=secret, scopes=["read"], allowed_networks=["203.0.113.0/24"])
        assert with_key(secret, REMOTE_ADDR="203.0.113.9")["tenant"] == "acme"
        headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": "203.0.113.9"}
        assert with_key(secret, headers=headers)["tenant"] is None

    @pytest.mark.parametrize(
        ("scopes", "method", "is_allowed"),
        [
            (["read"], "get", True),
            (["read"], "post", False),
            (["read"], "delete", False),
            (["manage"], "get", True),
            (["manage"], "post", True),
            (["invoke"], "get", False),
            (["invoke"], "post", False),
        ],
    )
    def test_a_scope_opens_what_it_says(
        self, acme: Tenant, secret: str, scopes: list[str], method: str, is_allowed: bool
    ) -> None:
        APIKeyFactory(tenant=acme, secret=secret, scopes=scopes)
        found = with_key(secret, method=method)
        assert (found["actor"] is not None) is is_allowed
        assert is_allowed or found["error"][:2] == ["NotAllowed", "scope_missing"]

    def test_a_key_of_a_suspended_tenant_is_refused_with_the_reason(
        self, acme: Tenant, secret: str, machine: Actor
    ) -> None:
        APIKeyFactory(tenant=acme, secret=secret, scopes=["read"])
        with platform_scope(reason="tests"):
            tenants.suspend(tenant=acme, actor=machine, reason="unpaid")
        found = with_key(secret)
        assert (found["tenant"], found["scope"], found["actor"]) == (None, None, None)
        assert found["error"][1] == "tenant_suspended"

    @pytest.mark.parametrize("header", ["bearer {}", "BEARER {}", "Bearer   {} "])
    def test_the_scheme_is_read_in_any_case(self, acme: Tenant, secret: str, header: str) -> None:
        APIKeyFactory(tenant=acme, secret=secret, scopes=["read"])
        assert with_key(secret, headers={"Authorization": header.format(secret)})["tenant"] == "acme"

    @pytest.mark.parametrize(
        "header", ["Bearer {0},Bearer {0}", "Bearer {0} {0}", "Bearer", "Bearer {0}\x00"]
    )
    def test_a_doubled_or_broken_header_opens_nothing(self, acme: Tenant, secret: str, header: str) -> None:
        APIKeyFactory(tenant=acme, secret=secret, scopes=["read"])
        found = with_key(secret, headers={"Authorization": header.format(secret)})
        assert (found["tenant"], found["error"][0]) == (None, "BadCredential")

    def test_other_schemes_are_not_ours(self, alice_client: Client) -> None:
        found = page(alice_client, "/api/page/", headers={"Authorization": "Basic YTpi"})
        assert (found["tenant"], found["error"]) == ("acme", None)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/page/", "/page/async/"])
async def test_under_asgi_requests_side_by_side_stay_behind_their_own_walls(path: str) -> None:
    """Attack 25: interleaved requests of two tenants on one loop."""
    slugs = ["first", "second"]

    def people() -> list[AsyncClient]:
        clients = []
        for slug in slugs:
            membership = MembershipFactory(tenant__slug=slug)
            APIKeyFactory(tenant=membership.tenant, name=f"of {slug}")
            client = AsyncClient()
            client.force_login(membership.user, backend="accounts.backends.ThrottledModelBackend")
            clients.append(client)
        return clients

    clients = await sync_to_async(people)()
    answers = await asyncio.gather(*(clients[number % 2].get(path) for number in range(20)))
    for number, answer in enumerate(answers):
        assert answer.status_code == 200
        assert (answer.json()["tenant"], answer.json()["keys"]) == (
            slugs[number % 2],
            [f"of {slugs[number % 2]}"],
        )
    assert current_scope() == Scope()
