"""Who sees which model, and what hangs on it: through the ORM and in raw SQL alike, under each scope.

The matrix is the specification, and both walls are held to it. What each policy is for, taken down, is in
test_visibility_controls.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.db import models as db

from core.scoping import ScopeError, platform_scope, tenant_scope, user_scope
from models_registry.models import Alias, Deployment, MemberGrant, Model, ModelVersion, TenantGrant
from tenants.models import Tenant
from tests.factories.models_registry import (
    AliasFactory,
    DeploymentFactory,
    MemberGrantFactory,
    ModelFactory,
    ModelVersionFactory,
    TenantGrantFactory,
    permission,
)
from tests.factories.tenants import TenantFactory

pytestmark = pytest.mark.django_db

OWNER, GRANTED, OTHER, NOBODY, PLATFORM = "owner", "granted tenant", "other tenant", "no tenant", "platform"
EVERY_TENANT = {OWNER, GRANTED, OTHER}

# (owned by, visibility, granted to somebody) → who sees it. The platform always does; with no tenant nobody does.
MATRIX: list[tuple[str, str, bool, set[str]]] = [
    ("platform", "public", False, EVERY_TENANT),
    ("platform", "granted", True, {GRANTED}),
    ("platform", "granted", False, set()),
    ("platform", "private", False, set()),
    ("platform", "private", True, {GRANTED}),
    ("tenant", "public", False, EVERY_TENANT),
    ("tenant", "granted", True, {OWNER, GRANTED}),
    ("tenant", "granted", False, {OWNER}),
    ("tenant", "private", False, {OWNER}),
    ("tenant", "private", True, {OWNER, GRANTED}),
]
matrix = pytest.mark.parametrize(("owned_by", "visibility", "granted", "expected"), MATRIX)


class Hall:
    """Three tenants, and a model of one of them or of the platform with everything that hangs on a model."""

    def __init__(self, owned_by: str, visibility: str, granted: bool) -> None:
        self.tenants: dict[str, Tenant] = {name: TenantFactory() for name in (OWNER, GRANTED, OTHER)}
        owner = self.tenants[OWNER] if owned_by == "tenant" else None
        self.model: Model = ModelFactory(tenant=owner, visibility=visibility)
        self.version: ModelVersion = ModelVersionFactory(model=self.model)
        self.alias: Alias = AliasFactory(version=self.version)
        self.deployment: Deployment = DeploymentFactory(version=self.version)
        if granted:
            TenantGrantFactory(tenant=self.tenants[GRANTED], content_object=self.model)

    @contextmanager
    def seen_by(self, who: str) -> Iterator[None]:
        """The scope of one of them."""
        doors: dict[str, Callable[[], Any]] = {
            **{name: lambda tenant=tenant: tenant_scope(tenant.pk) for name, tenant in self.tenants.items()},
            NOBODY: nullcontext,
            PLATFORM: lambda: platform_scope(reason="tests"),
        }
        with doors[who]():
            yield


def in_sql(row: db.Model) -> bool:
    """Whether raw SQL in the scope in force shows the row."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT 1 FROM "{row._meta.db_table}" WHERE id = %s', [row.pk])
        return cursor.fetchone() is not None


def in_orm(row: Any) -> bool:
    """Whether the ORM shows it; without a scope it raises, which is as good as seeing nothing."""
    try:
        return type(row).objects.filter(pk=row.pk).exists()
    except ScopeError:
        return False


@matrix
def test_a_model_and_its_versions_are_seen_by_whom_the_matrix_says(
    owned_by: str, visibility: str, granted: bool, expected: set[str]
) -> None:
    hall = Hall(owned_by, visibility, granted)
    if owned_by == "platform":
        expected = expected & {GRANTED, OTHER} if visibility != "public" else expected
    for look in (in_sql, in_orm):
        for row in (hall.model, hall.version):
            seen = set()
            for who in (OWNER, GRANTED, OTHER, NOBODY, PLATFORM):
                with hall.seen_by(who):
                    if look(row):
                        seen.add(who)
            assert seen == expected | {PLATFORM}, (look.__name__, type(row).__name__)


@matrix
def test_aliases_and_deployments_are_seen_with_the_model_unless_they_are_another_tenants(
    owned_by: str, visibility: str, granted: bool, expected: set[str]
) -> None:
    """A tenant's own alias and its dedicated deployment of a public model are nobody else's business."""
    hall = Hall(owned_by, visibility, granted)
    wanted = {OWNER} if owned_by == "tenant" else expected
    for look in (in_sql, in_orm):
        for row in (hall.alias, hall.deployment):
            seen = set()
            for who in (OWNER, GRANTED, OTHER, NOBODY, PLATFORM):
                with hall.seen_by(who):
                    if look(row):
                        seen.add(who)
            assert seen == wanted | {PLATFORM}, (look.__name__, type(row).__name__)


def test_a_shared_deployment_of_a_tenants_public_model_is_seen_by_all(acme: Tenant, globex: Tenant) -> None:
    version = ModelVersionFactory(model=ModelFactory(tenant=acme, visibility="public"))
    shared = DeploymentFactory(version=version, tenant=None)
    dedicated = DeploymentFactory(version=version, tenant=globex)
    with tenant_scope(acme.pk):
        assert (in_sql(shared), in_sql(dedicated)) == (True, False)
    with tenant_scope(globex.pk):
        assert (in_sql(shared), in_sql(dedicated)) == (True, True)


def test_a_grant_to_a_tenant_is_seen_by_giver_and_taker_alone(acme: Tenant, globex: Tenant) -> None:
    grant = TenantGrantFactory(tenant=globex, content_object=ModelFactory(tenant=acme, visibility="granted"))
    for tenant, expected in ((acme, True), (globex, True), (TenantFactory(), False)):
        with tenant_scope(tenant.pk):
            assert (in_sql(grant), in_orm(grant)) == (expected, expected)
    assert not in_sql(grant)


def test_a_grant_to_a_member_is_seen_inside_its_tenant_alone(acme: Tenant, globex: Tenant) -> None:
    """Not by the model's owner either: who works on what at the neighbour's is the neighbour's business."""
    model = ModelFactory(tenant=acme, visibility="public")
    grant = MemberGrantFactory(tenant=globex, content_object=model)
    for tenant, expected in ((acme, False), (globex, True)):
        with tenant_scope(tenant.pk):
            assert (in_sql(grant), in_orm(grant)) == (expected, expected)
    assert not in_sql(grant)


@pytest.mark.parametrize("table", [Model, ModelVersion, Alias, Deployment, TenantGrant, MemberGrant])
def test_with_no_tenant_no_row_is_seen_also_for_a_person(table: type[Any], acme: Tenant, alice: Any) -> None:
    hall = Hall("platform", "public", granted=True)
    MemberGrantFactory(tenant=acme, content_object=hall.model)
    with user_scope(alice.pk), connection.cursor() as cursor:
        cursor.execute(f'SELECT count(*) FROM "{table._meta.db_table}"')
        assert cursor.fetchone() == (0,)
    with platform_scope(reason="tests"):
        assert table.objects.exists()


def test_taking_a_grant_away_takes_the_sight_away(acme: Tenant) -> None:
    grant = TenantGrantFactory(tenant=acme)
    with tenant_scope(acme.pk):
        assert in_sql(grant.content_object)
    with platform_scope(reason="tests"):
        grant.delete()
    with tenant_scope(acme.pk):
        assert not in_sql(grant.content_object)


# --- Writing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def public(globex: Tenant) -> Hall:
    """A public model of the platform, which everybody sees."""
    return Hall("platform", "public", granted=False)


def test_what_is_only_seen_cannot_be_written(public: Hall, acme: Tenant) -> None:
    rows = (public.model, public.version, public.alias, public.deployment)
    with tenant_scope(acme.pk):
        for row in rows:
            assert in_sql(row)
            with pytest.raises(ScopeError):
                row.save()
            assert type(row).objects.filter(pk=row.pk).update(updated_at=row.updated_at) == 0
            with connection.cursor() as cursor:
                cursor.execute(f'DELETE FROM "{row._meta.db_table}" WHERE id = %s', [row.pk])
                assert cursor.rowcount == 0


def refused_by_postgresql() -> Any:
    """A row-level security policy says no."""
    return pytest.raises(ProgrammingError, match="row-level security")


def test_a_tenant_cannot_write_rows_of_the_platform_or_of_another(
    acme: Tenant, globex: Tenant, public: Hall
) -> None:
    for owner in (None, globex):
        attempts = (
            Model(tenant=owner, namespace=owner.slug if owner else "", name="smuggled"),
            ModelVersion(tenant=owner, model=public.model, number=99, source="simulated"),
            Alias(tenant=owner, version=public.version, name="smuggled"),
            Deployment(tenant=owner, version=public.version, name="smuggled", engine="simulated"),
        )
        for row in attempts:
            with tenant_scope(acme.pk):
                with pytest.raises(ScopeError):
                    row.save()
                with refused_by_postgresql(), transaction.atomic():
                    db.Model.save_base(row, force_insert=True)  # past the first wall


def test_a_version_cannot_be_hung_on_anothers_model(acme: Tenant, public: Hall) -> None:
    row = ModelVersion(tenant=acme, model=public.model, number=99, source="simulated")
    with tenant_scope(acme.pk), pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)


def test_names_cannot_be_led_to_what_one_does_not_see(acme: Tenant, globex: Tenant) -> None:
    hidden = ModelVersionFactory(tenant=globex)
    attempts = (
        Alias(tenant=acme, version=hidden, name="smuggled"),
        Deployment(tenant=acme, version=hidden, name="smuggled", engine="simulated"),
    )
    for row in attempts:
        with tenant_scope(acme.pk), refused_by_postgresql(), transaction.atomic():
            row.save(force_insert=True)


def test_a_tenant_cannot_grant_itself_anothers_model(acme: Tenant, globex: Tenant) -> None:
    model = ModelFactory(tenant=globex)
    for owner in (acme, globex, None):
        row = TenantGrant(
            tenant=acme, group=acme.group, owner=owner, permission=permission("invoke"), content_object=model
        )
        with tenant_scope(acme.pk):
            with pytest.raises(ScopeError):
                row.save()
            row.owner = owner
            # Claiming to own it passes the policy and fails the key of two columns; anything else fails the policy.
            with pytest.raises((ProgrammingError, IntegrityError)), transaction.atomic():
                db.Model.save_base(row, force_insert=True)
            assert not in_sql(model)


def test_whoever_got_a_grant_cannot_widen_it(acme: Tenant) -> None:
    grant = TenantGrantFactory(tenant=acme, given="view")
    with tenant_scope(acme.pk), refused_by_postgresql(), transaction.atomic():
        TenantGrant.unscoped.filter(pk=grant.pk).update(permission=permission("deploy"))
