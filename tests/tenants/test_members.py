"""Members: owners manage owners, and a tenant never loses its last one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import User
from audit.models import AuditEvent
from core.actors import Actor, system
from core.errors import DomainError, InvalidInput, NotAllowed, NotFound
from core.scoping import platform_scope, tenant_scope
from tenants import selectors
from tenants.errors import AlreadyMember, LastOwner
from tenants.models import Membership, Tenant
from tenants.services import members
from tests.factories.accounts import UserFactory
from tests.factories.tenants import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db


def of(user: User) -> Membership:
    """A person's membership in the active tenant."""
    return Membership.objects.get(user=user)


class TestAdd:
    """Bringing people in."""

    def test_an_owner_adds_somebody(
        self,
        alice: User,
        acme: Tenant,
        actor_of: Callable[..., Actor],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        grace = UserFactory(email="grace@example.com")
        with tenant_scope(acme.pk), django_capture_on_commit_callbacks() as callbacks:
            membership = members.add(tenant=acme, user=grace, role="billing", actor=actor_of(alice, "owner"))
            event = AuditEvent.objects.get(action="tenants.member.added")
        assert (membership.tenant_id, membership.role) == (acme.pk, "billing")
        assert event.after == {"email": "grace@example.com", "role": "billing"}
        assert len(callbacks) == 1

    @pytest.mark.parametrize("role", ["developer", "billing", "viewer", ""])
    def test_others_cannot(self, acme: Tenant, bob: User, actor_of: Callable[..., Actor], role: str) -> None:
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            members.add(tenant=acme, user=UserFactory(), role="viewer", actor=actor_of(bob, role))

    def test_an_admin_adds_members_but_no_owner(
        self, acme: Tenant, bob: User, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(acme.pk):
            members.add(tenant=acme, user=UserFactory(), role="admin", actor=actor_of(bob, "admin"))
            with pytest.raises(NotAllowed):
                members.add(tenant=acme, user=UserFactory(), role="owner", actor=actor_of(bob, "admin"))

    def test_a_key_adds_nobody(self, acme: Tenant) -> None:
        key = Actor(kind="key", label="program", scopes=frozenset({"manage"}))
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            members.add(tenant=acme, user=UserFactory(), role="viewer", actor=key)

    def test_a_person_is_a_member_once(self, acme: Tenant, bob: User, machine: Actor) -> None:
        with tenant_scope(acme.pk), pytest.raises(AlreadyMember):
            members.add(tenant=acme, user=bob, role="viewer", actor=machine)
        with pytest.raises(IntegrityError), transaction.atomic():
            MembershipFactory(tenant=acme, user=bob)

    def test_roles_are_known(self, acme: Tenant, machine: Actor) -> None:
        with tenant_scope(acme.pk), pytest.raises(InvalidInput) as refusal:
            members.add(tenant=acme, user=UserFactory(), role="god", actor=machine)
        assert refusal.value.field == "role"
        with pytest.raises(IntegrityError), transaction.atomic():
            MembershipFactory(tenant=acme, role="god")

    def test_nobody_is_added_to_a_neighbour(
        self, acme: Tenant, globex: Tenant, alice: User, machine: Actor
    ) -> None:
        with tenant_scope(acme.pk), pytest.raises(NotFound):
            members.add(tenant=globex, user=alice, role="owner", actor=machine)


class TestChangeRole:
    """Giving another role."""

    def test_an_owner_changes_roles(
        self,
        alice: User,
        bob: User,
        acme: Tenant,
        actor_of: Callable[..., Actor],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        with tenant_scope(acme.pk), django_capture_on_commit_callbacks() as callbacks:
            for role in ("admin", "admin", "owner"):
                assert (
                    members.change_role(membership=of(bob), role=role, actor=actor_of(alice, "owner")).role
                    == role
                )
            events = AuditEvent.objects.filter(action="tenants.member.role_changed").order_by("id")
            assert [(event.before, event.after) for event in events] == [
                ({"role": "developer"}, {"role": "admin"}),
                ({"role": "admin"}, {"role": "owner"}),
            ]
        assert len(callbacks) == 2

    def test_nobody_raises_themselves(
        self, alice: User, bob: User, dana: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(acme.pk):
            for user, role in ((bob, "developer"), (dana, "viewer"), (bob, "admin")):
                with pytest.raises(NotAllowed):
                    members.change_role(membership=of(user), role="owner", actor=actor_of(user, role))

    def test_an_admin_cannot_change_an_owner(
        self, alice: User, bob: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            members.change_role(membership=of(alice), role="viewer", actor=actor_of(bob, "admin"))

    def test_the_last_owner_stays_owner(self, alice: User, bob: User, acme: Tenant, machine: Actor) -> None:
        with tenant_scope(acme.pk):
            with pytest.raises(LastOwner):
                members.change_role(membership=of(alice), role="admin", actor=machine)
            members.change_role(membership=of(bob), role="owner", actor=machine)
            members.change_role(membership=of(alice), role="admin", actor=machine)

    def test_an_owner_who_cannot_sign_in_does_not_count(
        self, alice: User, bob: User, acme: Tenant, machine: Actor
    ) -> None:
        with tenant_scope(acme.pk):
            members.change_role(membership=of(bob), role="owner", actor=machine)
            User.objects.filter(pk=bob.pk).update(is_active=False)
            with pytest.raises(LastOwner):
                members.remove(membership=of(alice), actor=machine)

    def test_a_neighbours_member_is_not_found(
        self, alice: User, charlie: User, acme: Tenant, globex: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(globex.pk):
            theirs = of(charlie)
        with tenant_scope(acme.pk):
            with pytest.raises(NotFound):
                members.change_role(membership=theirs, role="viewer", actor=actor_of(alice, "owner"))
            with pytest.raises(NotFound):
                members.remove(membership=theirs, actor=actor_of(alice, "owner"))


class TestRemove:
    """Ending memberships."""

    def test_an_owner_removes_somebody(
        self,
        alice: User,
        bob: User,
        acme: Tenant,
        actor_of: Callable[..., Actor],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        with tenant_scope(acme.pk), django_capture_on_commit_callbacks() as callbacks:
            members.remove(membership=of(bob), actor=actor_of(alice, "owner"))
            assert not Membership.objects.filter(user=bob).exists()
            event = AuditEvent.objects.get(action="tenants.member.removed")
        assert event.before == {"email": bob.email, "role": "developer"}
        assert len(callbacks) == 1
        assert selectors.memberships_of(bob) == []

    def test_everybody_may_leave(
        self, alice: User, dana: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(acme.pk):
            members.remove(membership=of(dana), actor=actor_of(dana, "viewer"))
            assert Membership.objects.count() == 1

    def test_a_viewer_removes_nobody_else(
        self, alice: User, bob: User, dana: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(acme.pk):
            for membership in (of(bob), of(alice)):
                with pytest.raises(NotAllowed):
                    members.remove(membership=membership, actor=actor_of(dana, "viewer"))

    def test_an_admin_removes_no_owner(
        self, alice: User, bob: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            members.remove(membership=of(alice), actor=actor_of(bob, "admin"))

    def test_a_key_with_the_id_of_a_person_is_not_that_person(self, bob: User, acme: Tenant) -> None:
        key = Actor(kind="key", label="program", id=bob.pk, scopes=frozenset({"manage"}))
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            members.remove(membership=of(bob), actor=key)

    def test_the_last_owner_cannot_leave(
        self, alice: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(acme.pk):
            with pytest.raises(LastOwner):
                members.remove(membership=of(alice), actor=actor_of(alice, "owner"))
            assert Membership.objects.count() == 1

    def test_operators_do_it_behind_the_platform_door(
        self, olive: User, bob: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with platform_scope(reason="tests"):
            added = members.add(tenant=acme, user=UserFactory(), role="owner", actor=actor_of(olive))
            members.remove(membership=of(bob), actor=actor_of(olive))
            assert list(Membership.objects.filter(tenant=acme)) == [added]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_owners_who_remove_each_other_at_once_leave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = TenantFactory()
    owners = [MembershipFactory(tenant=tenant, role="owner") for _ in range(2)]
    both_have_looked = threading.Barrier(2)
    refused: list[DomainError] = []
    look = members._refuse_last_owner

    def look_and_wait(membership: Membership) -> None:
        look(membership)
        # Without a lock both get here and go on together; with it the second is still waiting for the first.
        with suppress(threading.BrokenBarrierError):
            both_have_looked.wait(timeout=1)

    monkeypatch.setattr(members, "_refuse_last_owner", look_and_wait)

    def remove(membership: Membership) -> None:
        try:
            with tenant_scope(tenant.pk):
                members.remove(membership=membership, actor=system("tests"))
        except LastOwner as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=remove, args=(membership,)) for membership in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(refused) == 1
    with tenant_scope(tenant.pk):
        assert Membership.objects.count() == 1


class TestSelectors:
    """Finding members."""

    def test_members_are_listed_with_their_accounts(
        self, alice: User, bob: User, charlie: User, acme: Tenant
    ) -> None:
        with tenant_scope(acme.pk):
            assert [membership.user for membership in selectors.members()] == [alice, bob]

    def test_absent_and_foreign_are_not_told_apart(
        self, alice: User, charlie: User, acme: Tenant, globex: Tenant
    ) -> None:
        with tenant_scope(globex.pk):
            theirs = of(charlie).public_id
        with tenant_scope(acme.pk):
            mine = of(alice)
            assert selectors.membership_by_public_id(public_id=mine.public_id) == mine
            for public_id in (theirs, "mem_00000000000000000000000000", "x"):
                with pytest.raises(NotFound, match="no such member"):
                    selectors.membership_by_public_id(public_id=public_id)
