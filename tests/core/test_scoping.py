"""The scope: one door, two walls, and nothing of it left behind in a connection, a thread or a task."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, F, Max

from access.models import APIKey
from accounts.models import User
from core import scoping
from core.scoping import (
    ScopeError,
    current_scope,
    current_tenant_id,
    key_scope,
    platform_scope,
    tenant_scope,
    user_scope,
)
from tenants.models import Membership, Tenant
from tests.factories.access import APIKeyFactory
from tests.factories.tenants import TenantFactory


def settings_of_the_database() -> tuple[str, str, str, str]:
    """What PostgreSQL has been told: tenant, user, digest, role."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('app.tenant_id', true), current_setting('app.user_id', true),"
            " current_setting('app.key_digest', true), current_user"
        )
        return tuple(value or "" for value in cursor.fetchone())  # type: ignore[return-value]


NOTHING = ("", "", "", "atrium_app")


@pytest.fixture
def keys(acme: Tenant, globex: Tenant) -> tuple[APIKey, APIKey]:
    """One key of Acme and one of Globex."""
    return APIKeyFactory(tenant=acme, name="acme's"), APIKeyFactory(tenant=globex, name="globex's")


class TestDatabase:
    """What the database is told, and when it forgets."""

    def test_it_tells_the_tenant_and_takes_it_back(self, acme: Tenant) -> None:
        with tenant_scope(acme.pk):
            assert settings_of_the_database() == (str(acme.pk), "", "", "atrium_app")
        assert settings_of_the_database() == NOTHING

    def test_an_inner_scope_hides_the_outer_one_and_gives_it_back(self, acme: Tenant, globex: Tenant) -> None:
        with tenant_scope(acme.pk):
            with tenant_scope(globex.pk):
                assert settings_of_the_database()[0] == str(globex.pk)
                assert current_tenant_id() == globex.pk
            assert settings_of_the_database()[0] == str(acme.pk)
            assert current_tenant_id() == acme.pk

    def test_the_platform_role_is_taken_and_given_back(self, acme: Tenant) -> None:
        with tenant_scope(acme.pk):
            with platform_scope(reason="test"):
                assert settings_of_the_database() == ("", "", "", "atrium_platform")
                with tenant_scope(acme.pk):
                    assert settings_of_the_database() == (str(acme.pk), "", "", "atrium_app")
                assert settings_of_the_database() == ("", "", "", "atrium_platform")
                with platform_scope(reason="again"):
                    assert settings_of_the_database()[3] == "atrium_platform"
                assert settings_of_the_database()[3] == "atrium_platform"
            assert settings_of_the_database() == (str(acme.pk), "", "", "atrium_app")
        assert settings_of_the_database() == NOTHING

    def test_user_and_key_scopes_open_nothing_else(self, alice: User) -> None:
        with user_scope(alice.pk):
            assert settings_of_the_database() == ("", str(alice.pk), "", "atrium_app")
        with key_scope("d" * 64):
            assert settings_of_the_database() == ("", "", "d" * 64, "atrium_app")
        assert settings_of_the_database() == NOTHING

    @pytest.mark.parametrize("broken", [tenant_scope, user_scope])
    def test_an_exception_inside_takes_the_scope_back(self, acme: Tenant, broken: Callable[..., Any]) -> None:
        with tenant_scope(acme.pk):
            with pytest.raises(ZeroDivisionError), broken(acme.group_id and acme.pk):
                raise ZeroDivisionError
            assert settings_of_the_database()[0] == str(acme.pk)
            assert current_tenant_id() == acme.pk

    def test_a_failed_statement_inside_takes_the_scope_back(self, acme: Tenant, globex: Tenant) -> None:
        with tenant_scope(acme.pk):
            with pytest.raises(DatabaseError), platform_scope(reason="test"), connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
            assert settings_of_the_database() == (str(acme.pk), "", "", "atrium_app")

    def test_a_rollback_that_somebody_asked_for_takes_the_scope_back(self, acme: Tenant) -> None:
        with tenant_scope(acme.pk):
            with platform_scope(reason="test"):
                transaction.set_rollback(True)
            assert settings_of_the_database() == (str(acme.pk), "", "", "atrium_app")

    def test_a_savepoint_that_is_rolled_back_does_not_end_the_scope(self, acme: Tenant) -> None:
        with tenant_scope(acme.pk):
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                raise ZeroDivisionError
            assert settings_of_the_database()[0] == str(acme.pk)

    @pytest.mark.django_db(transaction=True)
    def test_nothing_outlives_the_transaction(self) -> None:
        acme = TenantFactory()
        with tenant_scope(acme.pk):
            assert settings_of_the_database()[0] == str(acme.pk)
        assert settings_of_the_database() == NOTHING
        with pytest.raises(ZeroDivisionError), platform_scope(reason="test"):
            raise ZeroDivisionError
        assert settings_of_the_database() == NOTHING

    @pytest.mark.django_db(transaction=True)
    def test_a_scope_inside_a_transaction_without_one_leaves_none_behind(self) -> None:
        acme = TenantFactory()
        with transaction.atomic():
            with tenant_scope(acme.pk):
                pass
            assert settings_of_the_database() == NOTHING
            with platform_scope(reason="test"):
                pass
            assert settings_of_the_database() == NOTHING

    def test_control_without_putting_back_an_inner_scope_would_stay(
        self, acme: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = scoping._tell_database
        monkeypatch.setattr(
            scoping, "_tell_database", lambda scope, before: told(scope, before) if scope.tenant_id else None
        )
        with tenant_scope(acme.pk):
            pass
        assert settings_of_the_database() != NOTHING


class TestContexts:
    """Threads and tasks never see each other's scope."""

    @pytest.mark.django_db(transaction=True)
    def test_threads_have_scopes_of_their_own(self) -> None:
        tenants = [TenantFactory() for _ in range(2)]
        keys = [APIKeyFactory(tenant=tenant) for tenant in tenants]
        inside = threading.Barrier(2)
        seen: dict[int, tuple[Any, Any, list[Any]]] = {}

        def look(number: int) -> None:
            try:
                with tenant_scope(tenants[number].pk):
                    inside.wait(timeout=10)
                    found = list(APIKey.objects.values_list("pk", flat=True))
                    seen[number] = (current_tenant_id(), settings_of_the_database()[0], found)
                    inside.wait(timeout=10)
            finally:
                connection.close()

        threads = [threading.Thread(target=look, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        for number, tenant in enumerate(tenants):
            assert seen[number] == (tenant.pk, str(tenant.pk), [keys[number].pk])
        assert current_scope() == scoping.Scope()

    async def test_tasks_have_scopes_of_their_own(self) -> None:
        async def enter(number: int) -> object:
            token = scoping._scope.set(scoping.Scope(key_digest=str(number)))
            await asyncio.sleep(0.01 if number % 2 else 0)
            found = current_scope().key_digest
            scoping._scope.reset(token)
            return found

        assert await asyncio.gather(*map(enter, range(20))) == [str(number) for number in range(20)]
        assert current_scope() == scoping.Scope()

    @pytest.mark.django_db(transaction=True)
    async def test_a_scope_in_a_worker_thread_does_not_reach_the_loop(self) -> None:
        acme = await sync_to_async(TenantFactory)()

        def look() -> object:
            with tenant_scope(acme.pk):
                return current_tenant_id()

        assert await sync_to_async(look)() == acme.pk
        with pytest.raises(ScopeError):
            current_tenant_id()
        assert await sync_to_async(settings_of_the_database)() == NOTHING


VERBS: dict[str, Callable[[Any], object]] = {
    "list": lambda rows: list(rows.all()),
    "bool": lambda rows: bool(rows.all()),
    "count": lambda rows: rows.count(),
    "exists": lambda rows: rows.exists(),
    "first": lambda rows: rows.first(),
    "get": lambda rows: rows.get(name="globex's"),
    "in_bulk": lambda rows: rows.in_bulk(),
    "values": lambda rows: list(rows.values("pk")),
    "iterator": lambda rows: list(rows.iterator()),
    "aggregate": lambda rows: rows.aggregate(Count("pk"), Max("created_at")),
    "annotate": lambda rows: list(rows.annotate(Count("pk"))),
    "dates": lambda rows: list(rows.dates("created_at", "day")),
    "exclude": lambda rows: list(rows.exclude(name="")),
    "order": lambda rows: list(rows.order_by("name").reverse()),
    "union": lambda rows: list(rows.all().union(rows.all())),
    "or": lambda rows: list(rows.filter(name="a") | rows.filter(name="b")),
    "subquery": lambda rows: list(Membership.unscoped.filter(tenant_id__in=rows.values("tenant_id"))),
    "select_for_update": lambda rows: list(rows.select_for_update()),
    "update": lambda rows: rows.update(name="taken"),
    "delete": lambda rows: rows.all().delete(),
    "get_or_create": lambda rows: rows.get_or_create(name="globex's"),
    "update_or_create": lambda rows: rows.update_or_create(name="globex's"),
    "bulk_create": lambda rows: rows.bulk_create(
        [APIKeyFactory.build(tenant=None, tenant_id=scoping.UUID(int=1))]
    ),
    "create": lambda rows: rows.create(tenant_id=scoping.UUID(int=1), name="new", digest="d", scopes=[]),
}
# These look at the row itself, whichever manager it came through.
SAVING = {"create", "get_or_create", "update_or_create"}


class TestManagers:
    """The first wall, in the ORM: it holds without PostgreSQL's help."""

    @pytest.mark.parametrize("verb", VERBS)
    def test_without_a_scope_every_verb_raises(self, verb: str, keys: tuple[APIKey, APIKey]) -> None:
        with pytest.raises(ScopeError):
            VERBS[verb](APIKey.objects)

    @pytest.mark.parametrize("verb", sorted(VERBS.keys() - SAVING))
    def test_control_the_unscoped_manager_refuses_no_verb(
        self, verb: str, keys: tuple[APIKey, APIKey]
    ) -> None:
        # Row-level security, the second wall, answers with no rows.
        with suppress(APIKey.DoesNotExist, DatabaseError):
            VERBS[verb](APIKey.unscoped)

    def test_a_queryset_built_before_any_scope_follows_the_one_in_force(
        self, keys: tuple[APIKey, APIKey]
    ) -> None:
        mine, theirs = keys
        rows = APIKey.objects.order_by("name")
        with tenant_scope(mine.tenant_id):
            assert list(rows.all()) == [mine]
        with tenant_scope(theirs.tenant_id):
            assert list(rows.all()) == [theirs]
        with platform_scope(reason="test"):
            assert list(rows.all()) == [mine, theirs]
        with pytest.raises(ScopeError):
            list(rows.all())

    def test_the_scope_of_the_orm_holds_alone(self, keys: tuple[APIKey, APIKey]) -> None:
        """As if row-level security were off: the platform role sees all, the manager still does not."""
        mine, _theirs = keys
        with platform_scope(reason="test"):
            before = scoping._scope.get()
            scoping._scope.set(scoping.Scope(tenant_id=mine.tenant_id))
            try:
                assert list(APIKey.objects.all()) == [mine]
                assert APIKey.objects.update(name="changed") == 1
            finally:
                scoping._scope.set(before)

    def test_a_person_alone_reaches_no_tenants_rows(self, keys: tuple[APIKey, APIKey], alice: User) -> None:
        with user_scope(alice.pk), pytest.raises(ScopeError):
            APIKey.objects.count()

    def test_the_tenant_table_needs_some_scope(self, alice: User, acme: Tenant, globex: Tenant) -> None:
        with pytest.raises(ScopeError):
            Tenant.objects.count()
        with key_scope("d" * 64), pytest.raises(ScopeError):
            Tenant.objects.count()
        with user_scope(alice.pk):
            assert list(Tenant.objects.all()) == [acme]
        with tenant_scope(globex.pk):
            assert list(Tenant.objects.all()) == [globex]
        with platform_scope(reason="test"):
            assert set(Tenant.objects.all()) == {acme, globex}


class TestSaving:
    """Writes look at the row itself, and at the rows that it points to."""

    def test_another_tenants_row_is_not_saved(self, keys: tuple[APIKey, APIKey]) -> None:
        mine, theirs = keys
        with tenant_scope(mine.tenant_id):
            theirs.name = "taken"
            with pytest.raises(ScopeError):
                theirs.save()
            mine.name = "kept"
            mine.save()

    def test_another_tenants_row_is_not_deleted(self, keys: tuple[APIKey, APIKey]) -> None:
        mine, theirs = keys
        with tenant_scope(mine.tenant_id):
            with pytest.raises(ScopeError):
                theirs.delete()
            mine.delete()

    def test_nothing_is_saved_without_a_scope(self, keys: tuple[APIKey, APIKey]) -> None:
        with pytest.raises(ScopeError):
            keys[0].save()

    def test_a_foreign_key_to_another_tenants_row_is_refused(self, keys: tuple[APIKey, APIKey]) -> None:
        mine, theirs = keys
        sibling = APIKeyFactory(tenant_id=mine.tenant_id, tenant=None)
        with tenant_scope(mine.tenant_id):
            mine.rotated_to_id = theirs.pk
            with pytest.raises(ScopeError):
                mine.save()
            with pytest.raises(ScopeError):
                mine.save(update_fields=["rotated_to"])
            mine.save(update_fields=["name"])  # looks at nothing that is not saved
            mine.rotated_to = sibling
            mine.save()

    def test_a_foreign_key_across_tenants_is_refused_behind_the_platform_door_too(
        self, keys: tuple[APIKey, APIKey]
    ) -> None:
        mine, theirs = keys
        with platform_scope(reason="test"):
            mine.rotated_to = theirs
            with pytest.raises(ScopeError):
                mine.save()

    def test_an_update_cannot_let_rows_point_into_another_tenant(self, keys: tuple[APIKey, APIKey]) -> None:
        mine, theirs = keys
        sibling = APIKeyFactory(tenant_id=mine.tenant_id, tenant=None)
        for enter in (partial(tenant_scope, mine.tenant_id), partial(platform_scope, reason="test")):
            with enter():
                rows = APIKey.objects.filter(pk=mine.pk)
                for value in (theirs, theirs.pk, F("id"), uuid4()):
                    with pytest.raises(ScopeError):
                        rows.update(rotated_to=value)
                with pytest.raises(ScopeError):
                    rows.update(rotated_to_id=theirs.pk)
                mine.rotated_to = theirs
                with pytest.raises(ScopeError):
                    rows.bulk_update([mine], ["rotated_to"])
                assert rows.get().rotated_to_id is None
                for value in (sibling, sibling.pk, None):
                    assert rows.update(rotated_to=value) == 1
        with platform_scope(reason="test"), pytest.raises(ScopeError):
            APIKey.objects.update(rotated_to=sibling)  # the neighbour's rows are among them

    def test_many_rows_at_once_are_looked_at_like_one(self, keys: tuple[APIKey, APIKey]) -> None:
        mine, theirs = keys

        def built(**fields: Any) -> APIKey:
            return APIKeyFactory.build(tenant=None, **fields)

        with tenant_scope(mine.tenant_id):
            with pytest.raises(ScopeError):
                APIKey.objects.bulk_create(
                    [built(tenant_id=mine.tenant_id), built(tenant_id=theirs.tenant_id)]
                )
            with pytest.raises(ScopeError):
                APIKey.objects.bulk_create([built(tenant_id=mine.tenant_id, rotated_to_id=theirs.pk)])
            assert (
                len(APIKey.objects.bulk_create([built(tenant_id=mine.tenant_id, rotated_to_id=mine.pk)])) == 1
            )
            assert APIKey.objects.bulk_create([]) == []
