"""Signing in and out, choosing a tenant and a language."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from console.views.session import TENANT_SESSION_KEY
from tenants.middleware import SESSION_KEY
from tenants.models import Tenant
from tests.factories.accounts import PASSWORD
from tests.factories.tenants import MembershipFactory

SIGN_IN = reverse("console:sign-in")
HOME = reverse("console:home")
GENERIC = "do not match an account"


@pytest.fixture(autouse=True)
def _fresh_counts() -> None:
    """Guesses of other tests do not count here."""
    cache.clear()


def credentials(user: Any, password: str = PASSWORD, **more: str) -> dict[str, str]:
    """What the form sends."""
    return {"username": user.email, "password": password, **more}


def test_a_member_signs_in_and_lands_at_home(client: Client, alice: Any) -> None:
    response = client.post(SIGN_IN, credentials(alice))
    assert (response.status_code, response["Location"]) == (302, HOME)
    assert b"Acme" in client.get(HOME).content


def test_the_address_is_taken_in_any_case(client: Client, alice: Any) -> None:
    assert client.post(SIGN_IN, {"username": alice.email.upper(), "password": PASSWORD}).status_code == 302


def test_a_wrong_password_and_an_unknown_address_sound_alike(client: Client, alice: Any) -> None:
    wrong = client.post(SIGN_IN, credentials(alice, "wrong"))
    unknown = client.post(SIGN_IN, {"username": "nobody@acme.example", "password": "wrong"})
    for response in (wrong, unknown):
        assert response.status_code == 422
        assert GENERIC in response.content.decode()
        assert 'id="id_password_error"' in response.content.decode()
        assert 'aria-invalid="true"' in response.content.decode()
    assert b"wrong" not in wrong.content


def test_a_field_left_empty_says_so_beside_itself(client: Client) -> None:
    page = client.post(SIGN_IN, {"username": "", "password": ""}).content.decode()
    assert 'id="id_username_error"' in page
    assert 'id="id_password_error"' in page


def test_a_deactivated_account_sounds_like_a_wrong_password(client: Client, alice: Any) -> None:
    type(alice).objects.filter(pk=alice.pk).update(is_active=False)
    response = client.post(SIGN_IN, credentials(alice))
    assert (response.status_code, GENERIC in response.content.decode()) == (422, True)


@pytest.mark.slow
def test_guesses_are_bounded(client: Client, alice: Any) -> None:
    for _ in range(30):
        client.post(SIGN_IN, credentials(alice, "wrong"))
    response = client.post(SIGN_IN, credentials(alice))
    assert (response.status_code, GENERIC in response.content.decode()) == (422, True)


def test_signing_in_changes_the_session_key(client: Client, alice: Any) -> None:
    session = client.session
    session["before"] = "1"
    session.save()
    client.cookies["sessionid"] = session.session_key
    client.post(SIGN_IN, credentials(alice))
    assert client.session.session_key != session.session_key


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_nobody_is_sent_to_another_site(client: Client, alice: Any, target: str) -> None:
    response = client.post(SIGN_IN, credentials(alice, next=target))
    assert response["Location"] == HOME
    response = client.post(reverse("console:set-language"), {"language": "en", "next": target})
    assert response["Location"] == "/"


def test_signing_in_leads_back_to_the_page_that_was_asked_for(client: Client, alice: Any) -> None:
    playground = reverse("console:playground")
    response = client.get(playground)
    assert response["Location"] == f"{SIGN_IN}?next={playground}"
    assert client.post(SIGN_IN, credentials(alice, next=playground))["Location"] == playground


def test_signing_out_is_a_post_and_ends_the_session(alice_client: Client) -> None:
    assert alice_client.get(reverse("console:sign-out")).status_code == 405
    assert alice_client.post(reverse("console:sign-out"))["Location"] == SIGN_IN
    assert alice_client.get(HOME).status_code == 302


@pytest.mark.parametrize("name", ["home", "playground", "account"])
def test_strangers_are_asked_to_sign_in(client: Client, name: str) -> None:
    response = client.get(reverse(f"console:{name}"))
    assert response["Location"].startswith(SIGN_IN)


@pytest.mark.parametrize("name", ["sign-in", "sign-out", "switch-tenant", "set-language", "account"])
def test_forms_need_their_token(alice: Any, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post(reverse(f"console:{name}"), {})
    assert response.status_code == 403
    assert b"expired" in response.content


def test_the_session_key_is_the_middlewares() -> None:
    assert TENANT_SESSION_KEY == SESSION_KEY


def test_a_member_of_two_tenants_switches(alice: Any, alice_client: Client, globex: Tenant) -> None:
    MembershipFactory(tenant=globex, user=alice, role="developer")
    page = alice_client.get(HOME).content.decode()
    assert "<h1>Acme</h1>" in page
    assert "Globex" in page
    alice_client.post(reverse("console:switch-tenant"), {"tenant": globex.public_id})
    assert "<h1>Globex</h1>" in alice_client.get(HOME).content.decode()


def test_a_tenant_that_one_does_not_belong_to_is_as_absent_as_none(
    alice_client: Client, globex: Tenant
) -> None:
    for wanted in (globex.public_id, "ten_00000000000000000000000000", "", "nonsense"):
        response = alice_client.post(reverse("console:switch-tenant"), {"tenant": wanted})
        assert response.status_code == 404
    assert "<h1>Acme</h1>" in alice_client.get(HOME).content.decode()


def test_the_language_is_switched_and_remembered_for_the_person(alice: Any, alice_client: Client) -> None:
    response = alice_client.post(reverse("console:set-language"), {"language": "zh-hans", "next": HOME})
    assert (response["Location"], response.cookies["django_language"].value) == (HOME, "zh-hans")
    alice.refresh_from_db()
    assert alice.language == "zh-hans"
    page = alice_client.get(HOME).content.decode()
    assert '<html lang="zh-Hans">' in page
    assert "退出登录" in page


def test_signing_in_brings_the_persons_language(client: Client, alice: Any) -> None:
    type(alice).objects.filter(pk=alice.pk).update(language="zh-hans")
    client.post(SIGN_IN, credentials(alice))
    assert '<html lang="zh-Hans">' in client.get(HOME).content.decode()


def test_strangers_switch_the_language_too(client: Client) -> None:
    client.post(reverse("console:set-language"), {"language": "zh-hans"})
    assert "登录" in client.get(SIGN_IN).content.decode()


def test_an_unknown_language_changes_nothing(client: Client) -> None:
    response = client.post(reverse("console:set-language"), {"language": "tlh"})
    assert "django_language" not in response.cookies
