"""Making, rotating, revoking and finding keys: what is allowed, and beside it what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks

from access import secrets, selectors
from access.errors import KeyAlreadyRotated, KeyNotActive, ScopeTooWide
from access.models import APIKey, KeyState
from access.services import keys
from accounts.models import User
from audit.models import AuditEvent
from core import clock
from core.actors import Actor
from core.errors import InvalidInput, NotAllowed, NotFound
from core.scoping import ScopeError, platform_scope, tenant_scope
from tenants.models import Tenant
from tests.factories.access import APIKeyFactory

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def inside(acme: Tenant) -> Iterator[Tenant]:
    """Acme's scope, at a fixed time."""
    with time_machine.travel(NOW, tick=False), tenant_scope(acme.pk):
        yield acme


def program(key: APIKey) -> Actor:
    """The actor that a key is."""
    return Actor(kind="key", label=key.name, id=key.pk, scopes=frozenset(key.scopes))


@pytest.fixture
def owner(alice: User, actor_of: Callable[..., Actor]) -> Actor:
    """Alice, as owner."""
    return actor_of(alice, "owner")


@pytest.fixture
def developer(bob: User, actor_of: Callable[..., Actor]) -> Actor:
    """Bob, as developer."""
    return actor_of(bob, "developer")


class TestCreate:
    """Making keys."""

    def test_a_developer_makes_one_and_sees_its_secret_once(self, developer: Actor, inside: Tenant) -> None:
        key, secret = keys.create(actor=developer, name=" my  program ", scopes=["read", "invoke", "invoke"])
        assert secrets.looks_right(secret)
        assert (key.name, key.scopes, key.tenant_id, key.created_by_id) == (
            "my program",
            ["invoke", "read"],
            inside.pk,
            developer.id,
        )
        assert key.prefix == secrets.prefix_of(secret)
        assert str(key) == f"my program ({key.prefix})"

    def test_the_secret_is_stored_nowhere(self, owner: Actor, inside: Tenant) -> None:
        _key, secret = keys.create(actor=owner, name="program")
        with connection.cursor() as cursor:
            cursor.execute("SELECT row_to_json(k)::text FROM access_apikey k")
            rows = cursor.fetchall()
            cursor.execute("SELECT row_to_json(e)::text FROM audit_auditevent e")
            rows += cursor.fetchall()
        assert len(rows) == 2
        hidden = secret.removeprefix(f"atr-{secrets.prefix_of(secret)}-")
        assert not any(secret in row or hidden in row for (row,) in rows)
        assert not any(secrets.digest(secret) in row for (row,) in rows[1:])

    def test_it_is_in_the_trail(self, owner: Actor, inside: Tenant) -> None:
        key, _secret = keys.create(actor=owner, name="program", allowed_networks=["10.0.0.0/8"])
        event = AuditEvent.objects.get(action="access.key.created")
        assert (event.tenant_id, event.target_id, event.actor_id) == (inside.pk, key.public_id, owner.id)
        assert event.after["allowed_networks"] == ["10.0.0.0/8"]

    @pytest.mark.parametrize("role", ["viewer", "billing", ""])
    def test_others_cannot(
        self, alice: User, actor_of: Callable[..., Actor], inside: Tenant, role: str
    ) -> None:
        with pytest.raises(NotAllowed):
            keys.create(actor=actor_of(alice, role), name="program")
        assert APIKey.objects.count() == AuditEvent.objects.count() == 0

    def test_a_developer_cannot_make_a_key_that_manages(
        self, developer: Actor, owner: Actor, inside: Tenant
    ) -> None:
        with pytest.raises(ScopeTooWide) as refusal:
            keys.create(actor=developer, name="program", scopes=["invoke", "manage"])
        assert (refusal.value.field, refusal.value.code) == ("scopes", "scope_too_wide")
        keys.create(actor=owner, name="program", scopes=["invoke", "manage"])

    def test_it_needs_a_tenant(self, owner: Actor) -> None:
        with pytest.raises(ScopeError):
            keys.create(actor=owner, name="program")

    @pytest.mark.parametrize(
        ("field", "fields"),
        [
            ("name", {"name": "  "}),
            ("name", {"name": "x" * 101}),
            ("name", {"name": "a\x00b"}),
            ("name", {"name": "a\u202eb"}),
            ("scopes", {"scopes": []}),
            ("scopes", {"scopes": ["admin"]}),
            ("scopes", {"scopes": "admin"}),
            ("scopes", {"scopes": [1]}),
            ("allowed_models", {"allowed_models": ["../x"]}),
            ("allowed_models", {"allowed_models": ["a b"]}),
            ("allowed_models", {"allowed_models": ["x" * 201]}),
            ("allowed_models", {"allowed_models": [f"m{n}" for n in range(101)]}),
            ("allowed_networks", {"allowed_networks": ["10.0.0.1/8"]}),
            ("allowed_networks", {"allowed_networks": ["home"]}),
            ("expires_at", {"expires_at": NOW}),
            ("expires_at", {"expires_at": datetime(2027, 1, 1)}),
        ],
    )
    def test_what_is_wrong_is_named(
        self, owner: Actor, inside: Tenant, field: str, fields: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInput) as refusal:
            keys.create(actor=owner, **{"name": "program", **fields})
        assert refusal.value.field == field
        assert APIKey.objects.count() == 0

    def test_what_is_right_is_kept_in_one_spelling(self, owner: Actor, inside: Tenant) -> None:
        key, _secret = keys.create(
            actor=owner,
            name="program",
            scopes="invoke",
            allowed_models=["org/model-1.5:beta", "org/model-1.5:beta"],
            allowed_networks=["10.0.0.1"],
            expires_at=NOW + timedelta(seconds=1),
        )
        key.refresh_from_db()
        assert (key.scopes, key.allowed_models) == (["invoke"], ["org/model-1.5:beta"])
        assert (key.allowed_networks, key.expires_at) == (["10.0.0.1/32"], NOW + timedelta(seconds=1))

    def test_the_database_refuses_scopes_that_nobody_knows(self, acme: Tenant) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            APIKeyFactory(tenant=acme, scopes=["everything"])


class TestKeysThatMakeKeys:
    """Attack 5: a key never makes one that can do more than itself."""

    @pytest.fixture
    def maker(self, inside: Tenant) -> APIKey:
        """A key with limits of its own."""
        return APIKeyFactory(
            tenant=inside,
            scopes=["read", "manage"],
            expires_at=NOW + timedelta(days=10),
            allowed_models=["one", "two"],
            allowed_networks=["10.0.0.0/8"],
        )

    WITHIN: dict[str, Any] = {
        "name": "child",
        "scopes": ["manage"],
        "expires_at": NOW + timedelta(days=10),
        "allowed_models": ["two"],
        "allowed_networks": ["10.1.0.0/16"],
    }

    def test_within_its_limits_it_makes_one(self, maker: APIKey) -> None:
        key, _secret = keys.create(actor=program(maker), **self.WITHIN)
        assert key.created_by is None
        assert AuditEvent.objects.get(action="access.key.created").actor_id == maker.pk

    @pytest.mark.parametrize(
        "wider",
        [
            {"scopes": ["invoke"]},
            {"expires_at": None},
            {"expires_at": NOW + timedelta(days=10, seconds=1)},
            {"allowed_models": []},
            {"allowed_models": ["two", "three"]},
            {"allowed_networks": []},
            {"allowed_networks": ["10.0.0.0/7"]},
            {"allowed_networks": ["::/0"]},
        ],
    )
    def test_beyond_them_it_does_not(self, maker: APIKey, wider: dict[str, Any]) -> None:
        with pytest.raises(ScopeTooWide) as refusal:
            keys.create(actor=program(maker), **{**self.WITHIN, **wider})
        assert refusal.value.field == next(iter(wider))

    def test_a_key_without_the_scope_makes_none(self, inside: Tenant) -> None:
        reader = APIKeyFactory(tenant=inside, scopes=["read", "invoke"])
        with pytest.raises(NotAllowed):
            keys.create(actor=program(reader), name="child", scopes=["read"])

    def test_a_key_that_only_reads_does_not_renew_itself(self, inside: Tenant) -> None:
        reader = APIKeyFactory(tenant=inside, scopes=["read"])
        with pytest.raises(NotAllowed) as refusal:
            keys.rotate(key=reader, actor=program(reader))
        assert refusal.value.code == "not_allowed"

    def test_another_tenants_key_makes_none_here(self, inside: Tenant, globex: Tenant) -> None:
        foreign = APIKeyFactory(tenant=globex, scopes=["manage"])
        with pytest.raises(ScopeTooWide):
            keys.create(actor=program(foreign), name="child", scopes=["manage"])

    def test_it_cannot_outgrow_itself_by_rotating_others(self, maker: APIKey, inside: Tenant) -> None:
        endless = APIKeyFactory(tenant=inside, scopes=["manage"])
        with pytest.raises(ScopeTooWide):
            keys.rotate(key=endless, actor=program(maker))
        child, _secret = keys.create(actor=program(maker), **self.WITHIN)
        keys.rotate(key=child, actor=program(maker))


class TestRotate:
    """A successor, and an overlap in which both work."""

    def test_both_work_until_the_overlap_ends(self, owner: Actor, inside: Tenant) -> None:
        old, old_secret = keys.create(actor=owner, name="program", scopes=["invoke"], allowed_models=["one"])
        new, secret = keys.rotate(key=old, actor=owner, overlap_s=60)
        assert secret != old_secret
        assert (new.name, new.scopes, new.allowed_models, new.expires_at) == (
            "program",
            ["invoke"],
            ["one"],
            None,
        )
        old.refresh_from_db()
        assert old.rotated_to == new
        for second, state in ((0, KeyState.ACTIVE), (59, KeyState.ACTIVE), (60, KeyState.EXPIRED)):
            assert old.state(NOW + timedelta(seconds=second)) == state
            assert new.state(NOW + timedelta(seconds=second)) == KeyState.ACTIVE
        event = AuditEvent.objects.get(action="access.key.rotated")
        assert event.after["rotated_to"] == new.public_id

    def test_the_overlap_never_prolongs_the_old_key(self, owner: Actor, inside: Tenant) -> None:
        soon = NOW + timedelta(seconds=10)
        old, _secret = keys.create(actor=owner, name="program", expires_at=soon)
        new, _secret = keys.rotate(key=old, actor=owner, overlap_s=3600)
        old.refresh_from_db()
        assert old.expires_at == new.expires_at == soon

    def test_without_overlap_the_old_key_ends_now(self, owner: Actor, inside: Tenant) -> None:
        old, _secret = keys.create(actor=owner, name="program")
        keys.rotate(key=old, actor=owner, overlap_s=0)
        old.refresh_from_db()
        assert old.state(NOW) == KeyState.EXPIRED

    @pytest.mark.parametrize("overlap_s", [-1, keys.MAX_OVERLAP_S + 1])
    def test_the_overlap_is_bounded(self, owner: Actor, inside: Tenant, overlap_s: int) -> None:
        old, _secret = keys.create(actor=owner, name="program")
        with pytest.raises(InvalidInput, match="30 days"):
            keys.rotate(key=old, actor=owner, overlap_s=overlap_s)

    def test_it_is_rotated_once(self, owner: Actor, inside: Tenant) -> None:
        old, _secret = keys.create(actor=owner, name="program")
        keys.rotate(key=old, actor=owner)
        with pytest.raises(KeyAlreadyRotated):
            keys.rotate(key=old, actor=owner)

    def test_a_key_that_no_longer_works_is_not_rotated(self, owner: Actor, inside: Tenant) -> None:
        revoked, _secret = keys.create(actor=owner, name="program")
        keys.revoke(key=revoked, actor=owner)
        expired = APIKeyFactory(tenant=inside, expires_at=NOW - timedelta(days=1))
        for key in (revoked, expired):
            with pytest.raises(KeyNotActive):
                keys.rotate(key=key, actor=owner)

    def test_a_developer_does_not_get_a_managing_key_by_rotating_one(
        self, owner: Actor, developer: Actor, inside: Tenant
    ) -> None:
        managing, _secret = keys.create(actor=owner, name="program", scopes=["manage"])
        with pytest.raises(ScopeTooWide):
            keys.rotate(key=managing, actor=developer)
        managing.refresh_from_db()
        assert managing.rotated_to is None

    def test_viewers_and_neighbours_cannot(
        self,
        dana: User,
        charlie: User,
        actor_of: Callable[..., Actor],
        owner: Actor,
        inside: Tenant,
        globex: Tenant,
    ) -> None:
        key, _secret = keys.create(actor=owner, name="program")
        with pytest.raises(NotAllowed):
            keys.rotate(key=key, actor=actor_of(dana, "viewer"))
        with tenant_scope(globex.pk), pytest.raises(NotFound):
            keys.rotate(key=key, actor=actor_of(charlie, "owner"))

    def test_every_process_hears_of_it(
        self, owner: Actor, inside: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        key, _secret = keys.create(actor=owner, name="program")
        with django_capture_on_commit_callbacks() as callbacks:
            keys.rotate(key=key, actor=owner)
        assert len(callbacks) == 1


class TestRevoke:
    """The end of a key."""

    def test_it_ends_at_once_and_once(
        self,
        developer: Actor,
        inside: Tenant,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        key, _secret = keys.create(actor=developer, name="program")
        with django_capture_on_commit_callbacks() as callbacks:
            revoked = keys.revoke(key=key, actor=developer, reason="leaked")
            again = keys.revoke(key=key, actor=developer)
        assert revoked.state(NOW) == again.state(NOW) == KeyState.REVOKED
        assert len(callbacks) == 1
        assert AuditEvent.objects.get(action="access.key.revoked").reason == "leaked"

    def test_a_revoked_key_stays_revoked_whatever_its_expiry(self) -> None:
        key = APIKey(revoked_at=NOW, expires_at=NOW + timedelta(days=1))
        assert key.state(NOW) == KeyState.REVOKED

    def test_viewers_and_neighbours_cannot(
        self,
        dana: User,
        charlie: User,
        actor_of: Callable[..., Actor],
        owner: Actor,
        inside: Tenant,
        globex: Tenant,
    ) -> None:
        key, _secret = keys.create(actor=owner, name="program")
        with pytest.raises(NotAllowed):
            keys.revoke(key=key, actor=actor_of(dana, "viewer"))
        with tenant_scope(globex.pk), pytest.raises(NotFound):
            keys.revoke(key=key, actor=actor_of(charlie, "owner"))
        key.refresh_from_db()
        assert key.revoked_at is None


class TestSelectors:
    """Finding keys."""

    def test_a_secret_finds_its_key_before_any_tenant_is_known(self, acme: Tenant, globex: Tenant) -> None:
        mine, theirs = secrets.new_secret(), secrets.new_secret()
        APIKeyFactory(tenant=globex, secret=theirs)
        key = APIKeyFactory(tenant=acme, secret=mine)
        assert selectors.key_by_secret(mine) == key
        with tenant_scope(globex.pk):
            assert selectors.key_by_secret(mine) == key
        assert selectors.key_by_secret(secrets.new_secret()) is None

    def test_what_is_no_key_costs_no_query(self, acme: Tenant) -> None:
        secret = secrets.new_secret()
        APIKeyFactory(tenant=acme, secret=secret)
        with CaptureQueriesContext(connection) as queries:
            for text in ("", "x", secret[:-1], secret + " ", "' OR 1=1 --"):
                assert selectors.key_by_secret(text) is None
        assert len(queries) == 0

    def test_knowing_one_digest_shows_one_row(self, acme: Tenant) -> None:
        from core.scoping import key_scope

        secret = secrets.new_secret()
        key = APIKeyFactory(tenant=acme, secret=secret)
        APIKeyFactory.create_batch(3, tenant=acme)
        with key_scope(secrets.digest(secret)):
            assert list(APIKey.unscoped.all()) == [key]
            assert APIKey.unscoped.update(name="changed") == 0

    def test_keys_are_listed_newest_first_in_one_query(
        self, alice: User, acme: Tenant, globex: Tenant
    ) -> None:
        made = APIKeyFactory.create_batch(3, tenant=acme, created_by=alice)
        APIKeyFactory(tenant=globex)
        with tenant_scope(acme.pk), CaptureQueriesContext(connection) as queries:
            listed = list(selectors.keys())
            assert [key.created_by for key in listed] == [alice] * 3
        assert listed == made[::-1]
        assert sum("access_apikey" in query["sql"] for query in queries) == 1
        assert len([query for query in queries if query["sql"].startswith('SELECT "')]) == 1

    def test_absent_and_foreign_are_not_told_apart(self, acme: Tenant, globex: Tenant) -> None:
        mine, theirs = APIKeyFactory(tenant=acme), APIKeyFactory(tenant=globex)
        messages = set()
        with tenant_scope(acme.pk):
            assert selectors.key_by_public_id(public_id=mine.public_id) == mine
            for public_id in (
                theirs.public_id,
                "key_00000000000000000000000000",
                "nonsense",
                mine.public_id.upper(),
            ):
                with pytest.raises(NotFound) as refusal:
                    selectors.key_by_public_id(public_id=public_id)
                messages.add((refusal.value.code, refusal.value.message))
        assert len(messages) == 1


def test_nobody_reads_a_key_without_a_scope(acme: Tenant) -> None:
    APIKeyFactory(tenant=acme)
    with pytest.raises(ScopeError):
        selectors.keys().count()
    with platform_scope(reason="tests"):
        assert selectors.keys().count() == 1


def test_the_clock_is_the_one_that_tests_set() -> None:
    with time_machine.travel(NOW, tick=False):
        assert clock.now() == NOW
