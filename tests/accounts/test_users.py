"""Accounts: made and changed by operators, and by everybody for themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.test import Client

from accounts import selectors
from accounts.models import User
from accounts.services import users
from audit.models import AuditEvent
from core.actors import Actor
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.scoping import platform_scope
from tests.factories.accounts import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

GOOD_PASSWORD = "a long enough sentence"


def trail(action: str) -> list[AuditEvent]:
    """What the audit trail has of an action."""
    with platform_scope(reason="tests"):
        return list(AuditEvent.objects.filter(action=action))


class TestModel:
    """What an account is."""

    def test_an_address_is_kept_in_lower_case_and_found_in_any(self) -> None:
        user = User.objects.create_user("  Grace@Example.COM ", GOOD_PASSWORD)
        assert user.email == "grace@example.com"
        assert User.objects.get_by_natural_key("GRACE@example.com") == user
        assert selectors.user_by_email(email="Grace@example.com ") == user

    def test_two_accounts_cannot_differ_by_case_alone(self) -> None:
        UserFactory(email="grace@example.com")
        with pytest.raises(IntegrityError), transaction.atomic():
            UserFactory(email="GRACE@example.com")

    def test_the_database_itself_refuses_upper_case(self) -> None:
        user = UserFactory()
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.filter(pk=user.pk).update(email="Upper@example.com")

    def test_staff_are_operators_and_support_while_active(self, olive: User, sam: User, alice: User) -> None:
        assert olive.is_staff
        assert sam.is_staff
        assert not alice.is_staff
        olive.is_active = False
        assert not olive.is_staff

    def test_createsuperuser_makes_an_operator_without_the_flag_that_passes_every_check(self) -> None:
        user = get_user_model().objects.create_superuser("root@example.com", GOOD_PASSWORD)
        assert user.platform_role == "operator"
        assert not user.is_superuser

    def test_an_account_without_a_password_cannot_be_signed_in_to(self) -> None:
        assert not User.objects.create_user("grace@example.com").has_usable_password()

    def test_it_has_names_for_every_place(self) -> None:
        named = UserFactory.build(name="Grace Hopper", email="grace@example.com")
        nameless = UserFactory.build(name="", email="grace@example.com")
        assert (str(named), named.get_full_name(), named.get_short_name()) == (
            "grace@example.com",
            "Grace Hopper",
            "Grace",
        )
        assert (nameless.get_full_name(), nameless.get_short_name()) == ("grace@example.com", "grace")
        assert named.public_id.startswith("usr_")

    def test_model_validation_normalises_first(self) -> None:
        UserFactory(email="grace@example.com")
        user = User(email="GRACE@example.com", password="x")
        with pytest.raises(Exception, match="exists already"):
            user.full_clean()


class TestCreate:
    """Making accounts."""

    def test_an_operator_makes_one(self, olive: User, actor_of: Callable[..., Actor]) -> None:
        user = users.create(
            actor=actor_of(olive), email="Grace@example.com", name="Grace  Hopper", password=GOOD_PASSWORD
        )
        assert (user.email, user.name, user.language) == ("grace@example.com", "Grace Hopper", "en")
        assert user.check_password(GOOD_PASSWORD)
        [event] = trail("accounts.user.created")
        assert event.actor_label == olive.email
        assert event.target_id == user.public_id
        assert GOOD_PASSWORD not in str((event.before, event.after))

    def test_others_cannot(self, alice: User, sam: User, actor_of: Callable[..., Actor]) -> None:
        for actor in (actor_of(alice, "owner"), actor_of(sam)):
            with pytest.raises(NotAllowed):
                users.create(actor=actor, email="grace@example.com")
        assert trail("accounts.user.created") == []

    def test_an_address_is_used_once(self, machine: Actor) -> None:
        users.create(actor=machine, email="grace@example.com")
        with pytest.raises(Conflict, match="exists already"):
            users.create(actor=machine, email="GRACE@example.com")

    @pytest.mark.parametrize(
        ("field", "fields"),
        [
            ("email", {"email": "not an address"}),
            ("email", {"email": ""}),
            ("email", {"email": "a" * 250 + "@example.com"}),
            ("name", {"name": "x" * 151}),
            ("name", {"name": "Gra\u202ece"}),
            ("language", {"language": "xx"}),
            ("platform_role", {"platform_role": "god"}),
            ("password", {"password": "short"}),
            ("password", {"password": "12345678901234"}),
            ("password", {"password": "grace@example.com"}),
        ],
    )
    def test_what_is_wrong_is_named(self, machine: Actor, field: str, fields: dict[str, str]) -> None:
        with pytest.raises(InvalidInput) as refusal:
            users.create(actor=machine, **{"email": "grace@example.com", **fields})
        assert refusal.value.field == field
        assert refusal.value.message


class TestChange:
    """Changing accounts."""

    def test_people_change_their_own_name_and_language(
        self, alice: User, actor_of: Callable[..., Actor]
    ) -> None:
        users.change_profile(user=alice, actor=actor_of(alice, "owner"), name="Alice A.", language="zh-hans")
        alice.refresh_from_db()
        assert (alice.name, alice.language) == ("Alice A.", "zh-hans")
        [event] = trail("accounts.user.changed")
        assert event.before == {"name": "Alice", "language": "en"}
        users.change_profile(user=alice, actor=actor_of(alice, "owner"), name="Alice A.")
        assert len(trail("accounts.user.changed")) == 1

    def test_people_cannot_change_others(
        self, alice: User, bob: User, actor_of: Callable[..., Actor]
    ) -> None:
        actor = actor_of(alice, "owner")
        with pytest.raises(NotAllowed):
            users.change_profile(user=bob, actor=actor, name="Bob the Builder")
        with pytest.raises(NotAllowed):
            users.set_password(user=bob, actor=actor, password=GOOD_PASSWORD)
        with pytest.raises(NotAllowed):
            users.set_active(user=bob, actor=actor, is_active=False)
        with pytest.raises(NotAllowed):
            users.set_platform_role(user=alice, actor=actor, platform_role="operator")
        bob.refresh_from_db()
        assert (bob.name, bob.check_password(PASSWORD)) == ("Bob", True)

    def test_a_new_password_ends_sessions(
        self, alice: User, alice_client: Client, actor_of: Callable[..., Actor]
    ) -> None:
        assert "_auth_user_id" in alice_client.session
        users.set_password(user=alice, actor=actor_of(alice, "owner"), password=GOOD_PASSWORD)
        before = alice_client.session["_auth_user_hash"]
        alice.refresh_from_db()
        assert alice.get_session_auth_hash() != before
        with pytest.raises(InvalidInput):
            users.set_password(user=alice, actor=actor_of(alice, "owner"), password="weak")

    def test_an_operator_gives_and_takes_platform_roles(
        self, olive: User, alice: User, actor_of: Callable[..., Actor]
    ) -> None:
        users.set_platform_role(
            user=alice, actor=actor_of(olive), platform_role="support", reason="new colleague"
        )
        alice.refresh_from_db()
        assert alice.is_staff
        [event] = trail("accounts.user.platform_role_changed")
        assert (event.before, event.after) == ({"platform_role": ""}, {"platform_role": "support"})
        assert event.reason == "new colleague"
        with pytest.raises(InvalidInput):
            users.set_platform_role(user=alice, actor=actor_of(olive), platform_role="owner")

    def test_an_operator_cannot_lock_themselves_out(
        self, olive: User, actor_of: Callable[..., Actor]
    ) -> None:
        with pytest.raises(Conflict):
            users.set_platform_role(user=olive, actor=actor_of(olive), platform_role="")
        with pytest.raises(Conflict):
            users.set_active(user=olive, actor=actor_of(olive), is_active=False)

    def test_an_account_is_switched_off_and_on(
        self, olive: User, alice: User, actor_of: Callable[..., Actor]
    ) -> None:
        users.set_active(user=alice, actor=actor_of(olive), is_active=False, reason="left")
        users.set_active(user=alice, actor=actor_of(olive), is_active=False)
        alice.refresh_from_db()
        assert not alice.is_active
        users.set_active(user=alice, actor=actor_of(olive), is_active=True)
        assert len(trail("accounts.user.deactivated")) == len(trail("accounts.user.activated")) == 1


class TestSelectors:
    """Finding accounts."""

    def test_they_are_found_by_public_id(self, alice: User) -> None:
        assert selectors.user_by_public_id(public_id=alice.public_id) == alice

    def test_what_is_not_there_is_not_found(self, alice: User) -> None:
        for public_id in (
            "",
            "usr_",
            alice.public_id.replace("usr", "key"),
            "usr_00000000000000000000000000",
        ):
            with pytest.raises(NotFound):
                selectors.user_by_public_id(public_id=public_id)
        with pytest.raises(NotFound):
            selectors.user_by_email(email="nobody@example.com")
