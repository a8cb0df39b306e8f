"""Which names a tenant may call, and what each leads to."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from core.scoping import tenant_scope
from models_registry.selectors import Route, routes_for
from tenants.models import Membership, Tenant
from tests.factories.models_registry import (
    AliasFactory,
    DeploymentFactory,
    MemberGrantFactory,
    ModelFactory,
    ModelVersionFactory,
    TenantGrantFactory,
)

pytestmark = pytest.mark.django_db


def served(tenant: Tenant | None, name: str, *, visibility: str = "public", **changes: Any) -> Any:
    """The deployment of a new model's first version."""
    model = ModelFactory(tenant=tenant, name=name, visibility=visibility, **changes)
    return DeploymentFactory(version=ModelVersionFactory(model=model, number=1))


def shared(tenant: Tenant | None, name: str, *, visibility: str = "public") -> Any:
    """As `served`, but run by the platform for all who may invoke the model."""
    model = ModelFactory(tenant=tenant, name=name, visibility=visibility)
    return DeploymentFactory(version=ModelVersionFactory(model=model), tenant=None)


def routes(tenant: Tenant) -> dict[str, Route]:
    """Routes by name."""
    return {route.name: route for route in routes_for(tenant_id=tenant.pk)}


def targets(tenant: Tenant) -> dict[str, Any]:
    """Deployments by name."""
    return {name: route.deployment_id for name, route in routes(tenant).items()}


def test_a_route_says_what_the_gateway_needs(acme: Tenant) -> None:
    model = ModelFactory(tenant=acme, name="ours", task="embedding")
    version = ModelVersionFactory(model=model, context_length=4096)
    deployment = DeploymentFactory(version=version, engine_args={"context_length": 2048})
    assert routes_for(tenant_id=acme.pk) == [
        Route(
            name="ours",
            model_id=model.pk,
            version_id=version.pk,
            deployment_id=deployment.pk,
            task="embedding",
            context_length=2048,
            engine="simulated",
            created=int(version.created_at.timestamp()),
            owned_by="acme",
            model_name="acme/ours",
        )
    ]


def test_who_may_invoke_what(acme: Tenant, globex: Tenant) -> None:
    public, private = served(None, "public"), served(None, "private", visibility="private")
    granted, looked_at = (
        served(None, "granted", visibility="granted"),
        served(None, "seen", visibility="granted"),
    )
    TenantGrantFactory(tenant=acme, content_object=granted.version.model)
    TenantGrantFactory(tenant=acme, content_object=looked_at.version.model, given="view")
    own = served(acme, "own", visibility="private")
    assert targets(acme) == {"public": public.pk, "granted": granted.pk, "own": own.pk}
    assert targets(globex) == {"public": public.pk}
    assert private.pk not in targets(acme).values()


def test_the_platforms_models_are_owned_by_atrium(acme: Tenant) -> None:
    served(None, "public")
    assert routes(acme)["public"].owned_by == "atrium"


def test_another_tenants_model_carries_its_owners_name_and_takes_no_name_from_anybody(
    acme: Tenant, globex: Tenant
) -> None:
    """Nobody can publish a model under a name that a neighbour's program relies on."""
    theirs = shared(globex, "gpt")
    assert targets(acme) == {"globex/gpt": theirs.pk}
    platforms = served(None, "gpt")
    assert targets(acme) == {"globex/gpt": theirs.pk, "gpt": platforms.pk}
    assert targets(globex) == {"gpt": theirs.pk}
    assert routes(acme)["globex/gpt"].owned_by == "globex"


def test_a_name_means_the_alias_then_the_own_model_then_the_platforms(acme: Tenant, globex: Tenant) -> None:
    platforms = served(None, "gpt")
    assert targets(acme)["gpt"] == platforms.pk
    other = served(None, "other")
    AliasFactory(version=other.version, name="gpt")
    assert targets(acme)["gpt"] == other.pk
    own = served(acme, "gpt", visibility="private")
    assert targets(acme)["gpt"] == own.pk
    chosen = served(acme, "chosen", visibility="private")
    AliasFactory(tenant=acme, version=chosen.version, name="gpt")
    assert targets(acme)["gpt"] == chosen.pk
    assert targets(globex)["gpt"] == other.pk


def test_an_alias_of_another_tenant_is_invisible(acme: Tenant, globex: Tenant) -> None:
    public = served(None, "public")
    AliasFactory(tenant=globex, version=public.version, name="theirs")
    AliasFactory(version=public.version, name="everybodys")
    assert set(targets(acme)) == {"public", "everybodys"}
    assert set(targets(globex)) == {"public", "everybodys", "theirs"}


def test_an_alias_that_leads_nowhere_hides_what_its_name_meant(acme: Tenant) -> None:
    """Better no answer than one of a model that nobody chose."""
    served(None, "gpt")
    retired = ModelVersionFactory(tenant=acme, state="retired")
    alias = AliasFactory(version=retired, name="gpt")
    assert targets(acme) == {}
    with tenant_scope(acme.pk):
        alias.delete()
    assert set(targets(acme)) == {"gpt"}


def test_an_alias_leads_to_its_version_and_a_name_to_the_newest(acme: Tenant) -> None:
    model = ModelFactory(tenant=acme, name="ours")
    deployments = [
        DeploymentFactory(version=ModelVersionFactory(model=model, number=number)) for number in (1, 2, 10)
    ]
    AliasFactory(version=deployments[0].version, name="pinned")
    assert targets(acme) == {"ours": deployments[2].pk, "pinned": deployments[0].pk}


def test_a_name_leads_to_what_is_served(acme: Tenant) -> None:
    model = ModelFactory(tenant=acme, name="ours")
    old = DeploymentFactory(version=ModelVersionFactory(model=model, number=1))
    ModelVersionFactory(model=model, number=2)  # online, and nothing runs it
    for number, state in ((3, "staging"), (4, "draft"), (5, "retired"), (6, "deprecated")):
        DeploymentFactory(version=ModelVersionFactory(model=model, number=number, state=state))
    DeploymentFactory(version=ModelVersionFactory(model=model, number=7), running=False)
    assert targets(acme) == {"ours": old.pk}


def test_a_deprecated_version_answers_while_none_is_online(acme: Tenant) -> None:
    model = ModelFactory(tenant=acme, name="ours")
    deprecated = DeploymentFactory(version=ModelVersionFactory(model=model, number=1, state="deprecated"))
    assert targets(acme) == {"ours": deprecated.pk}


def test_the_tenants_own_deployment_goes_before_a_shared_one(acme: Tenant, globex: Tenant) -> None:
    shared_one = served(None, "public")
    dedicated = DeploymentFactory(tenant=acme, version=shared_one.version)
    assert targets(acme) == {"public": dedicated.pk}
    assert targets(globex) == {"public": shared_one.pk}


def test_among_shared_deployments_the_oldest_answers(acme: Tenant) -> None:
    first = served(None, "public")
    DeploymentFactory(version=first.version)
    assert targets(acme) == {"public": first.pk}


def test_a_dedicated_deployment_of_a_public_model_serves_its_tenant_alone(
    acme: Tenant, globex: Tenant
) -> None:
    served(globex, "theirs", visibility="public")
    assert targets(acme) == {}


def test_restricted_members(acme: Tenant, globex: Tenant, alice: User, bob: User, charlie: User) -> None:
    model = served(None, "for-some", restrict_to_members=True).version.model
    everybodys = served(None, "for-all").version.model
    with tenant_scope(acme.pk):
        membership, other = Membership.objects.get(user=bob), Membership.objects.get(user=alice)
    for granted in (model, everybodys):
        MemberGrantFactory(tenant=acme, user=bob, membership=membership, content_object=granted)
    # To manage is not to invoke.
    MemberGrantFactory(tenant=acme, user=alice, membership=other, content_object=model, given="manage")
    found = routes(acme)
    assert found["for-some"].allowed_user_ids == frozenset({bob.pk})
    assert found["for-all"].allowed_user_ids is None
    assert routes(globex)["for-some"].allowed_user_ids == frozenset()


def test_a_tenant_that_does_not_exist_has_no_routes_of_its_own(acme: Tenant) -> None:
    served(acme, "ours", visibility="private")
    assert routes_for(tenant_id=uuid4()) == []


def test_the_number_of_queries_does_not_grow(acme: Tenant) -> None:
    for number in range(5):
        AliasFactory(tenant=acme, version=served(None, f"m{number}", restrict_to_members=True).version)
    with CaptureQueriesContext(connection) as queries:
        assert len(routes_for(tenant_id=acme.pk)) == 10
    # Grants to the tenant, deployments, grants to members, aliases; what opens the scope is not counted.
    assert len([query for query in queries if "models_registry" in query["sql"]]) == 4
