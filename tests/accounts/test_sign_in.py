"""Signing in: bounded per account and per address, and silent about which accounts exist."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from redis.exceptions import ConnectionError as RedisConnectionError

from access.models import APIKey
from accounts import throttle
from accounts.backends import ThrottledModelBackend
from accounts.models import User
from audit.models import AuditEvent
from core.scoping import platform_scope
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def grace() -> User:
    """Somebody with an address of this test alone: the counters of the cache outlive a test."""
    return UserFactory(email=f"{uuid.uuid4().hex}@example.com")


@pytest.fixture
def place() -> Iterator[str]:
    """A network address of this test alone."""
    return f"2001:db8::{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}"


def attempt(email: str, password: str, address: str) -> object:
    """One attempt, as the sign-in page makes it."""
    request = RequestFactory().post("/", REMOTE_ADDR=address)
    return authenticate(request, username=email, password=password)


def test_the_right_password_signs_in_in_any_case_of_the_address(grace: User, place: str) -> None:
    assert attempt(grace.email.upper(), PASSWORD, place) == grace


def test_wrong_unknown_and_inactive_look_alike(grace: User, place: str) -> None:
    off = UserFactory(is_active=False)
    assert attempt(grace.email, "wrong", place) is None
    assert attempt("nobody@example.com", PASSWORD, place) is None
    assert attempt(off.email, PASSWORD, place) is None
    assert authenticate(None, username=None, password=None) is None


def test_an_unknown_address_costs_a_password_check_too(
    place: str, grace: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(User, "set_password", lambda self, password: hashed.append(password))
    attempt("nobody@example.com", "guess", place)
    assert hashed == ["guess"]


def test_guesses_at_one_account_are_bounded_from_anywhere(grace: User, place: str) -> None:
    for number in range(throttle.ATTEMPTS_PER_ACCOUNT):
        assert attempt(grace.email, "wrong", f"{place}{number:x}") is None
    assert throttle.is_blocked(email=grace.email, address=place)
    assert attempt(grace.email, PASSWORD, place) is None


def test_guesses_from_one_address_are_bounded_whatever_the_account(
    grace: User, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "ATTEMPTS_PER_ADDRESS", 5)
    for number in range(5):
        attempt(f"guess{number}@{uuid.uuid4().hex}.example", "wrong", place)
    assert attempt(grace.email, PASSWORD, place) is None
    assert attempt(grace.email, PASSWORD, f"{place}9") == grace


def test_who_guesses_elsewhere_does_not_lock_the_owner_out(grace: User, place: str) -> None:
    home, elsewhere = f"{place}1", f"{place}2"
    assert attempt(grace.email, PASSWORD, home) == grace
    for _ in range(throttle.ATTEMPTS_PER_ACCOUNT + 2):
        attempt(grace.email, "wrong", elsewhere)
    assert attempt(grace.email, PASSWORD, elsewhere) is None
    assert attempt(grace.email, PASSWORD, home) == grace


@pytest.mark.slow
def test_success_forgets_the_attempts_made_from_that_address(grace: User, place: str) -> None:
    assert attempt(grace.email, PASSWORD, place) == grace
    for _ in range(3):
        for _ in range(throttle.ATTEMPTS_PER_ACCOUNT - 1):
            attempt(grace.email, "wrong", place)
        assert attempt(grace.email, PASSWORD, place) == grace


def test_with_the_cache_away_nobody_signs_in(
    grace: User, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        """A cache that is not there."""

        def __getattr__(self, name: str) -> object:
            raise RedisConnectionError

    monkeypatch.setattr(throttle, "cache", Gone())
    assert attempt(grace.email, PASSWORD, place) is None
    assert throttle.is_blocked(email=grace.email, address=place)


def test_a_window_that_ends_between_two_calls_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    key = f"tests:{uuid.uuid4()}"
    monkeypatch.setattr(throttle.cache, "add", lambda *_args: False)
    assert throttle._count(key) == 1
    assert throttle._count(key) == 2


def test_sessions_and_refusals_are_in_the_trail_without_what_was_typed(grace: User, place: str) -> None:
    attempt(grace.email, "my other password", place)
    attempt("my password in the wrong field", "x", place)
    with platform_scope(reason="tests"):
        [event] = AuditEvent.objects.filter(action="accounts.session.refused")
    assert event.target_id == grace.public_id
    assert (event.actor_label, event.address) == ("", place)
    assert "my " not in str(vars(event))


def test_a_guesser_cannot_fill_the_trail(grace: User, place: str) -> None:
    for _ in range(throttle.ATTEMPTS_PER_ACCOUNT * 3):
        attempt(grace.email, "wrong", place)
    with platform_scope(reason="tests"):
        written = AuditEvent.objects.filter(action="accounts.session.refused").count()
    assert 0 < written <= throttle.ATTEMPTS_PER_ACCOUNT


def test_opening_and_closing_a_session_is_in_the_trail(client, grace: User) -> None:  # type: ignore[no-untyped-def]
    client.force_login(grace)
    client.logout()
    with platform_scope(reason="tests"):
        actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["accounts.session.opened", "accounts.session.closed"]


class TestModelPermissions:
    """What Django's admin asks before it shows a page."""

    def test_operators_may_all_support_may_view_others_nothing(
        self, olive: User, sam: User, alice: User
    ) -> None:
        assert olive.has_perm("access.change_apikey")
        assert olive.has_module_perms("access")
        assert sam.has_perm("access.view_apikey")
        assert not sam.has_perm("access.change_apikey")
        assert not sam.has_perm("access.delete_view_of_something")
        assert not alice.has_perm("access.view_apikey")
        assert not alice.has_module_perms("access")
        assert not AnonymousUser().has_perm("access.view_apikey")

    def test_of_single_objects_it_says_nothing(self, olive: User) -> None:
        key = APIKey(tenant=TenantFactory.build(), name="key")
        assert not ThrottledModelBackend().has_perm(olive, "access.view_apikey", key)

    def test_staff_who_are_switched_off_may_nothing(self, olive: User) -> None:
        olive.is_active = False
        assert not olive.has_perm("access.view_apikey")
