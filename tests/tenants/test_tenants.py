"""Tenants: made by operators, renamed by their owners, stopped and resumed with a reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import User
from audit.models import AuditEvent
from core.actors import Actor
from core.errors import InvalidInput, NotAllowed, NotFound
from core.scoping import platform_scope, tenant_scope, user_scope
from tenants import selectors
from tenants.errors import SlugTaken, WrongStatus
from tenants.models import Membership, Tenant, TenantStatus
from tenants.services import tenants
from tests.factories.tenants import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(olive: User, actor_of: Callable[..., Actor]) -> Actor:
    """Olive, operating."""
    return actor_of(olive)


class TestCreate:
    """Making tenants."""

    def test_an_operator_makes_one_with_its_owner(
        self, operator: Actor, alice: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        with platform_scope(reason="tests"), django_capture_on_commit_callbacks() as callbacks:
            tenant = tenants.create(actor=operator, slug="initech", name=" Initech  Inc. ", owner=alice)
        assert (tenant.slug, tenant.name, tenant.status) == ("initech", "Initech Inc.", "active")
        assert tenant.public_id.startswith("ten_")
        assert len(callbacks) == 1
        with tenant_scope(tenant.pk):
            assert Membership.objects.get().role == "owner"
            actions = [event.action for event in AuditEvent.objects.all()]
            assert actions == ["tenants.member.added", "tenants.tenant.created"]

    def test_its_group_has_no_people(self, operator: Actor, alice: User) -> None:
        """Grants to a tenant must not follow its members elsewhere."""
        with platform_scope(reason="tests"):
            tenant = tenants.create(actor=operator, slug="initech", name="Initech", owner=alice)
        assert tenant.group.name == f"tenant:{tenant.pk}"
        assert not tenant.group.user_set.exists()

    def test_others_cannot(self, alice: User, sam: User, actor_of: Callable[..., Actor]) -> None:
        for actor in (actor_of(alice, "owner"), actor_of(sam)):
            with platform_scope(reason="tests"), pytest.raises(NotAllowed):
                tenants.create(actor=actor, slug="initech", name="Initech")

    def test_a_tenants_scope_makes_no_tenant_whoever_asks(self, operator: Actor, acme: Tenant) -> None:
        with (
            tenant_scope(acme.pk),
            pytest.raises(DatabaseError, match="row-level security"),
            transaction.atomic(),
        ):
            tenants.create(actor=operator, slug="initech", name="Initech")

    def test_a_short_name_is_used_once(self, operator: Actor, acme: Tenant) -> None:
        with platform_scope(reason="tests"), pytest.raises(SlugTaken) as refusal:
            tenants.create(actor=operator, slug="acme", name="Acme")
        assert (refusal.value.code, refusal.value.field) == ("slug_taken", "slug")

    @pytest.mark.parametrize("slug", ["abc", "a" * 40, "a-b-c", "a1-2", "acme2"])
    def test_short_names_within_bounds_are_taken(self, operator: Actor, slug: str) -> None:
        with platform_scope(reason="tests"):
            assert tenants.create(actor=operator, slug=slug, name="x").slug == slug

    @pytest.mark.parametrize(
        "slug",
        [
            "",
            "ab",
            "a" * 41,
            "1abc",
            "-abc",
            "abc-",
            "a--b",
            "Abc",
            "a_b",
            "a.b",
            "a/b",
            "äbc",
            "ab\nc",
            "a b",
            "ａbc",
            *("api", "admin", "console", "platform"),
        ],
    )
    def test_others_are_refused(self, operator: Actor, slug: str) -> None:
        with platform_scope(reason="tests"), pytest.raises(InvalidInput) as refusal:
            tenants.create(actor=operator, slug=slug, name="x")
        assert refusal.value.field == "slug"

    @pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\x07b", "a\u202eb"])
    def test_a_name_is_printable_and_bounded(self, operator: Actor, name: str) -> None:
        with platform_scope(reason="tests"), pytest.raises(InvalidInput) as refusal:
            tenants.create(actor=operator, slug="initech", name=name)
        assert refusal.value.field == "name"

    @pytest.mark.parametrize("slug", ["ab", "A-b", "a--b", "abc-", "a" * 41])
    def test_the_database_refuses_them_too(self, slug: str) -> None:
        with pytest.raises(DatabaseError), transaction.atomic():
            TenantFactory(slug=slug)

    def test_the_database_refuses_a_status_that_nobody_knows(self, acme: Tenant) -> None:
        acme.status = "gone"
        with pytest.raises(IntegrityError), platform_scope(reason="tests"):
            acme.save()


@given(st.text(alphabet="abz019-", min_size=1, max_size=45))
def test_python_and_postgresql_agree_on_short_names(slug: str) -> None:
    """The form is written once for both; their regular expressions are not the same language."""
    from django.core.exceptions import ValidationError
    from django.db import connection

    from tenants.models import SLUG_PATTERN, slug_validators

    def is_valid() -> bool:
        try:
            for validator in slug_validators:
                validator(slug)
        except ValidationError:
            return False
        return True

    with connection.cursor() as cursor:
        cursor.execute("SELECT %s ~ %s", [slug, SLUG_PATTERN])
        assert is_valid() == cursor.fetchone()[0]


class TestRename:
    """The name that people read."""

    def test_an_owner_renames_their_tenant(
        self,
        alice: User,
        acme: Tenant,
        actor_of: Callable[..., Actor],
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        with tenant_scope(acme.pk), django_capture_on_commit_callbacks() as callbacks:
            renamed = tenants.rename(tenant=acme, actor=actor_of(alice, "owner"), name="Acme Ltd")
            tenants.rename(tenant=acme, actor=actor_of(alice, "owner"), name="Acme Ltd")
            event = AuditEvent.objects.get(action="tenants.tenant.renamed")
        assert (renamed.name, renamed.slug) == ("Acme Ltd", "acme")
        assert (event.before, event.after) == ({"name": "Acme"}, {"name": "Acme Ltd"})
        assert len(callbacks) == 1

    def test_a_developer_cannot(self, bob: User, acme: Tenant, actor_of: Callable[..., Actor]) -> None:
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            tenants.rename(tenant=acme, actor=actor_of(bob, "developer"), name="Bob's")

    def test_a_neighbour_finds_no_such_tenant(
        self, charlie: User, acme: Tenant, globex: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with tenant_scope(globex.pk), pytest.raises(NotFound):
            tenants.rename(tenant=acme, actor=actor_of(charlie, "owner"), name="Charlie's")

    def test_a_person_without_a_tenant_cannot_write(
        self, alice: User, acme: Tenant, actor_of: Callable[..., Actor]
    ) -> None:
        with user_scope(alice.pk), pytest.raises(NotFound):
            tenants.rename(tenant=acme, actor=actor_of(alice, "owner"), name="Mine")


class TestStatus:
    """Stopping, resuming and closing."""

    def test_an_operator_suspends_and_resumes(
        self,
        operator: Actor,
        acme: Tenant,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        with platform_scope(reason="tests"), django_capture_on_commit_callbacks() as callbacks:
            suspended = tenants.suspend(tenant=acme, actor=operator, reason=" unpaid ")
            assert not suspended.is_active
            tenants.suspend(tenant=acme, actor=operator, reason="again")
            assert tenants.resume(tenant=acme, actor=operator, reason="paid").is_active
            tenants.resume(tenant=acme, actor=operator, reason="again")
            events = list(
                AuditEvent.objects.order_by("id").values_list("action", "reason", "before", "after")
            )
        assert events == [
            ("tenants.tenant.suspended", "unpaid", {"status": "active"}, {"status": "suspended"}),
            ("tenants.tenant.resumed", "paid", {"status": "suspended"}, {"status": "active"}),
        ]
        assert len(callbacks) == 2

    def test_an_owner_cannot_resume_but_can_close(
        self, alice: User, acme: Tenant, operator: Actor, actor_of: Callable[..., Actor]
    ) -> None:
        owner = actor_of(alice, "owner")
        with platform_scope(reason="tests"):
            tenants.suspend(tenant=acme, actor=operator, reason="unpaid")
        with tenant_scope(acme.pk):
            for verb in (tenants.suspend, tenants.resume):
                with pytest.raises(NotAllowed):
                    verb(tenant=acme, actor=owner, reason="because")
            assert (
                tenants.close(tenant=acme, actor=owner, reason="we are done").status == TenantStatus.CLOSING
            )

    def test_an_admin_cannot_close(self, bob: User, acme: Tenant, actor_of: Callable[..., Actor]) -> None:
        with tenant_scope(acme.pk), pytest.raises(NotAllowed):
            tenants.close(tenant=acme, actor=actor_of(bob, "admin"), reason="because")

    def test_what_is_closing_does_not_come_back(self, operator: Actor, acme: Tenant) -> None:
        with platform_scope(reason="tests"):
            tenants.close(tenant=acme, actor=operator, reason="asked for")
            for verb in (tenants.suspend, tenants.resume):
                with pytest.raises(WrongStatus):
                    verb(tenant=acme, actor=operator, reason="because")

    @pytest.mark.parametrize("verb", [tenants.suspend, tenants.resume, tenants.close])
    def test_a_reason_is_needed(self, operator: Actor, acme: Tenant, verb: Callable[..., Tenant]) -> None:
        with platform_scope(reason="tests"), pytest.raises(InvalidInput) as refusal:
            verb(tenant=acme, actor=operator, reason="  ")
        assert refusal.value.field == "reason"


class TestSelectors:
    """Finding tenants."""

    def test_a_person_sees_their_memberships_and_those_tenants_only(
        self, alice: User, acme: Tenant, globex: Tenant, charlie: User
    ) -> None:
        [membership] = selectors.memberships_of(alice)
        assert (membership.tenant, membership.role) == (acme, "owner")
        MembershipFactory(tenant=globex, user=alice, role="viewer")
        assert [found.tenant.slug for found in selectors.memberships_of(alice)] == ["acme", "globex"]
        assert [found.tenant.slug for found in selectors.memberships_of(charlie)] == ["globex"]
        with user_scope(alice.pk):
            assert Membership.unscoped.count() == 2

    def test_a_person_cannot_change_a_membership_by_knowing_who_they_are(self, alice: User) -> None:
        with user_scope(alice.pk):
            assert Membership.unscoped.update(role="viewer") == 0

    def test_a_tenant_is_found_inside_its_own_wall_only(self, acme: Tenant, globex: Tenant) -> None:
        with tenant_scope(acme.pk):
            assert selectors.tenant_by_slug(slug="acme") == acme
            assert selectors.tenant_by_public_id(public_id=acme.public_id) == acme
            assert list(selectors.tenants()) == [acme]
            for find in (
                lambda: selectors.tenant_by_slug(slug="globex"),
                lambda: selectors.tenant_by_public_id(public_id=globex.public_id),
                lambda: selectors.tenant_by_public_id(public_id="nonsense"),
                lambda: selectors.tenant_by_id(tenant_id=globex.pk),
            ):
                with pytest.raises(NotFound, match="no such tenant"):
                    find()
        with platform_scope(reason="tests"):
            assert selectors.tenant_by_slug(slug="globex") == globex
            assert set(selectors.tenants().active()) == {acme, globex}
