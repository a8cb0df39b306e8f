"""Deployments: who may wish for what, within which bounds, and what an engine worker is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings

from accounts.models import User
from audit.models import AuditEvent
from core.actors import Actor, system
from core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from core.scoping import platform_scope, tenant_scope
from models_registry import addresses, selectors
from models_registry.errors import AddressRefused, EngineArgumentRefused
from models_registry.models import Deployment, Source
from models_registry.services import deployments
from tenants.models import Tenant
from tests.factories.models_registry import (
    DeploymentFactory,
    ModelFactory,
    ModelVersionFactory,
    TenantGrantFactory,
)

pytestmark = pytest.mark.django_db

ActorOf = Callable[..., Actor]
SYSTEM = system("tests")
SECRET = "sk-very-secret"


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and their addresses, instead of the network's."""
    known = {"api.example.com": ["93.184.216.34"], "inside.example.com": ["10.0.0.1"]}

    def getaddrinfo(host: str, port: int, **_options: Any) -> list[Any]:
        if host not in known:
            raise OSError("unknown")
        return [(0, 0, 0, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    return known


def remote_version(tenant: Tenant | None = None) -> Any:
    """A version that lives on a server elsewhere."""
    return ModelVersionFactory(tenant=tenant, source=Source.REMOTE)


# --- Who ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["owner", "admin", "developer"])
def test_a_tenant_deploys_its_own_model_for_itself(
    acme: Tenant, bob: User, actor_of: ActorOf, role: str
) -> None:
    version = ModelVersionFactory(tenant=acme)
    with tenant_scope(acme.pk):
        deployment = deployments.create(
            version=version,
            actor=actor_of(bob, role),
            tenant=acme,
            engine="simulated",
            engine_args={"tokens": 3},
        )
        assert (deployment.tenant_id, deployment.name) == (acme.pk, f"{version.model.name}-v{version.number}")
        event = AuditEvent.objects.get(action="models_registry.deployment.created")
        assert event.after
        assert event.after["engine_args"] == {"tokens": 3}


@pytest.mark.parametrize("role", ["viewer", "billing", ""])
def test_who_does_not_deploy_changes_no_deployment(acme: Tenant, role: str) -> None:
    deployment = DeploymentFactory(tenant=acme)
    actor = Actor(kind="person", label="x", role=role)
    with tenant_scope(acme.pk):
        for change in (
            lambda: deployments.create(
                version=deployment.version, actor=actor, tenant=acme, engine="simulated"
            ),
            lambda: deployments.scale(deployment=deployment, replicas=2, actor=actor),
            lambda: deployments.stop(deployment=deployment, actor=actor),
            lambda: deployments.start(deployment=deployment, actor=actor),
            lambda: deployments.remove(deployment=deployment, actor=actor),
            lambda: deployments.set_credential(deployment=deployment, credential="x", actor=actor),
        ):
            with pytest.raises(NotAllowed):
                change()


def test_a_shared_model_is_deployed_with_leave_only(acme: Tenant, alice: User, actor_of: ActorOf) -> None:
    actor = actor_of(alice, "owner")
    public = ModelVersionFactory(model=ModelFactory(tenant=None, visibility="public"))
    granted = ModelVersionFactory(model=TenantGrantFactory(tenant=acme, given="deploy").content_object)
    hidden = ModelVersionFactory()
    with tenant_scope(acme.pk):
        with pytest.raises(NotAllowed):
            deployments.create(version=public, actor=actor, tenant=acme, engine="simulated")
        with pytest.raises(NotFound):
            deployments.create(version=hidden, actor=actor, tenant=acme, engine="simulated")
        assert (
            deployments.create(version=granted, actor=actor, tenant=acme, engine="simulated").tenant_id
            == acme.pk
        )


def test_a_tenant_makes_nothing_shared_and_nothing_for_another(
    acme: Tenant, globex: Tenant, alice: User, actor_of: ActorOf
) -> None:
    version = ModelVersionFactory(tenant=acme)
    with tenant_scope(acme.pk):
        for tenant in (None, globex):
            with pytest.raises(NotAllowed):
                deployments.create(
                    version=version, actor=actor_of(alice, "owner"), tenant=tenant, engine="simulated"
                )


def test_a_tenant_does_not_change_a_shared_deployment(acme: Tenant, alice: User, actor_of: ActorOf) -> None:
    model = TenantGrantFactory(tenant=acme, given="deploy").content_object
    shared = DeploymentFactory(version=ModelVersionFactory(model=model))
    with tenant_scope(acme.pk):
        for change in (deployments.stop, deployments.start, deployments.remove):
            with pytest.raises(NotAllowed):
                change(deployment=shared, actor=actor_of(alice, "owner"))


# --- Within which bounds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [0, -1, 65, 1.5, "2", True, None])
def test_replicas_out_of_bounds_are_refused(acme: Tenant, replicas: Any) -> None:
    deployment = DeploymentFactory(tenant=None)
    with platform_scope(reason="tests"):
        with pytest.raises(InvalidInput):
            deployments.scale(deployment=deployment, replicas=replicas, actor=SYSTEM)
        with pytest.raises(InvalidInput):
            deployments.create(
                version=deployment.version, actor=SYSTEM, engine="simulated", replicas=replicas
            )


def test_the_database_bounds_replicas_too() -> None:
    deployment = DeploymentFactory(tenant=None)
    for replicas in (0, 65):
        with platform_scope(reason="tests"), pytest.raises(IntegrityError), transaction.atomic():
            Deployment.objects.filter(pk=deployment.pk).update(desired_replicas=replicas)


def test_scaling_starting_and_stopping(acme: Tenant, bob: User, actor_of: ActorOf) -> None:
    deployment, actor = DeploymentFactory(tenant=acme), actor_of(bob, "developer")
    with tenant_scope(acme.pk):
        for _ in range(2):
            deployments.scale(deployment=deployment, replicas=3, actor=actor)
            deployments.stop(deployment=deployment, actor=actor, reason="night")
        with pytest.raises(Conflict):
            deployments.remove(deployment=DeploymentFactory(tenant=acme, desired_replicas=1), actor=actor)
        deployment.refresh_from_db()
        assert (deployment.desired_replicas, deployment.running) == (3, False)
        deployments.start(deployment=deployment, actor=actor)
        deployments.start(deployment=deployment, actor=actor)
        deployment.refresh_from_db()
        assert deployment.running
        deployments.remove(deployment=deployments.stop(deployment=deployment, actor=actor), actor=actor)
        actions = AuditEvent.objects.order_by("id").values_list("action", flat=True)
        assert [action.rpartition(".")[2] for action in actions] == [
            "scaled",
            "stopped",
            "started",
            "stopped",
            "removed",
        ]


def test_a_tenants_own_replicas_are_limited_together(
    acme: Tenant, bob: User, olive: User, actor_of: ActorOf, settings: Settings
) -> None:
    settings.TENANT_MAX_REPLICAS = 3
    first, second = DeploymentFactory(tenant=acme, desired_replicas=2), DeploymentFactory(tenant=acme)
    stopped = DeploymentFactory(tenant=acme, running=False)
    DeploymentFactory(desired_replicas=60)  # a neighbour's
    actor = actor_of(bob, "developer")
    with tenant_scope(acme.pk):
        for wish in (
            lambda: deployments.scale(deployment=second, replicas=2, actor=actor),
            lambda: deployments.start(deployment=stopped, actor=actor),
            lambda: deployments.create(version=first.version, actor=actor, tenant=acme, engine="simulated"),
        ):
            with pytest.raises(Conflict) as caught:
                wish()
            assert caught.value.code == "too_many_replicas"
        deployments.scale(deployment=first, replicas=1, actor=actor)
        deployments.start(deployment=stopped, actor=actor)
    with platform_scope(reason="tests"):
        deployments.scale(deployment=second, replicas=9, actor=actor_of(olive))


def test_names_are_unique_among_one_owners_deployments(acme: Tenant, globex: Tenant) -> None:
    version = ModelVersionFactory(model=ModelFactory(tenant=None, visibility="public"))
    with platform_scope(reason="tests"):
        for tenant in (acme, globex, None):
            arguments: dict[str, Any] = {
                "version": version,
                "actor": SYSTEM,
                "tenant": tenant,
                "engine": "simulated",
            }
            deployments.create(name="same", **arguments)
            with pytest.raises(Conflict):
                deployments.create(name="same", **arguments)
            row = Deployment(tenant=tenant, version=version, name="same", engine="simulated")
            with pytest.raises(IntegrityError), transaction.atomic():
                row.save(force_insert=True)


@pytest.mark.parametrize("name", ["Bad Name", "a/b", "-x", "x" * 101, "a\n", "é"])
def test_a_name_must_look_like_one(name: str) -> None:
    version = ModelVersionFactory(tenant=None)
    with platform_scope(reason="tests"), pytest.raises(InvalidInput) as caught:
        deployments.create(version=version, actor=SYSTEM, engine="simulated", name=name)
    assert caught.value.field == "name"


def test_the_engine_must_fit_the_version_and_its_arguments_the_list() -> None:
    simulated, folder = (
        ModelVersionFactory(tenant=None),
        ModelVersionFactory(
            tenant=None, source=Source.FOLDER, digest="0" * 64, artifact_path="/x", context_length=512
        ),
    )
    cases: list[tuple[Any, str, dict[str, Any]]] = [
        (simulated, "vllm", {}),
        (folder, "openai", {}),
        (simulated, "spaceship", {}),
        (folder, "vllm", {"trust_remote_code": True}),
        (folder, "vllm", {"max_model_len": 1024}),
    ]
    with platform_scope(reason="tests"):
        for version, engine, arguments in cases:
            with pytest.raises(InvalidInput):
                deployments.create(version=version, actor=SYSTEM, engine=engine, engine_args=arguments)
        deployments.create(version=folder, actor=SYSTEM, engine_args={"max_model_len": 512})


def test_the_simulated_engine_must_be_allowed(settings: Settings) -> None:
    settings.ALLOW_SIMULATED_ENGINE = False
    version = ModelVersionFactory(tenant=None)
    with platform_scope(reason="tests"), pytest.raises(EngineArgumentRefused):
        deployments.create(version=version, actor=SYSTEM, engine="simulated")


def test_a_retired_version_does_not_run_again() -> None:
    deployment = DeploymentFactory(version=ModelVersionFactory(tenant=None, state="retired"), running=False)
    with platform_scope(reason="tests"):
        for wish in (
            lambda: deployments.start(deployment=deployment, actor=SYSTEM),
            lambda: deployments.create(version=deployment.version, actor=SYSTEM, engine="simulated"),
        ):
            with pytest.raises(Conflict) as caught:
                wish()
            assert caught.value.code == "version_retired"


def test_pools_are_chosen_by_operators(acme: Tenant, alice: User, actor_of: ActorOf) -> None:
    version = ModelVersionFactory(tenant=acme)
    with tenant_scope(acme.pk), pytest.raises(NotAllowed):
        deployments.create(
            version=version, actor=actor_of(alice, "owner"), tenant=acme, engine="simulated", pool="gold"
        )
    with platform_scope(reason="tests"):
        assert deployments.create(version=version, actor=SYSTEM, tenant=acme, engine="simulated", pool="gold")


# --- Remote engines -----------------------------------------------------------------------------------------------


def test_a_remote_engine_keeps_its_credential_to_itself(resolver: object, acme: Tenant) -> None:
    with platform_scope(reason="tests"):
        deployment = deployments.create(
            version=ModelVersionFactory(
                model=ModelFactory(tenant=None, visibility="public"), source=Source.REMOTE
            ),
            actor=SYSTEM,
            engine="openai",
            remote_base_url="https://api.example.com/v1/",
            remote_model="big",
            credential=SECRET,
        )
    assert deployment.remote_base_url == "https://api.example.com/v1"
    assert selectors.remote_credential(deployment_id=deployment.pk) == SECRET
    spec = selectors.engine_spec(deployment_id=deployment.pk)
    assert (spec.remote_base_url, spec.remote_model) == ("https://api.example.com/v1", "big")
    with tenant_scope(acme.pk):
        (seen,) = selectors.deployments()
        assert "remote_credential" in seen.get_deferred_fields()
        with connection.cursor() as cursor:
            cursor.execute("SELECT remote_credential FROM models_registry_deployment")
            (stored,) = cursor.fetchone()
    with platform_scope(reason="tests"):
        trail = json.dumps(list(AuditEvent.objects.values("after", "before")))
    for text in (stored, str(seen.__dict__), repr(spec), repr(deployment), trail):
        assert SECRET not in text


def test_a_credential_is_replaced_and_taken_away(resolver: object, olive: User, actor_of: ActorOf) -> None:
    actor = actor_of(olive)
    deployment = DeploymentFactory(
        version=remote_version(), engine="openai", remote_base_url="https://api.example.com"
    )
    assert selectors.remote_credential(deployment_id=deployment.pk) == ""
    with platform_scope(reason="tests"):
        deployments.set_credential(deployment=deployment, credential=SECRET, actor=actor)
        assert selectors.remote_credential(deployment_id=deployment.pk) == SECRET
        for bad in ("line\nbreak", "ключ", "x" * 5_000):
            with pytest.raises(InvalidInput):
                deployments.set_credential(deployment=deployment, credential=bad, actor=actor)
        deployments.set_credential(deployment=deployment, credential="", actor=actor)
        assert selectors.remote_credential(deployment_id=deployment.pk) == ""
        with pytest.raises(InvalidInput):
            deployments.set_credential(deployment=DeploymentFactory(tenant=None), credential="x", actor=actor)


def test_a_remote_address_is_checked_when_it_is_registered(resolver: object, settings: Settings) -> None:
    settings.REMOTE_ENGINE_NETWORKS = []
    version = remote_version()
    with platform_scope(reason="tests"):
        for url in (
            "https://inside.example.com",
            "http://api.example.com",
            "https://u:p@api.example.com",
            "",
        ):
            with pytest.raises(AddressRefused):
                deployments.create(version=version, actor=SYSTEM, engine="openai", remote_base_url=url)


def test_tenants_name_no_addresses_unless_the_platform_lets_them(
    resolver: object, acme: Tenant, alice: User, actor_of: ActorOf, settings: Settings
) -> None:
    arguments: dict[str, Any] = {
        "version": remote_version(acme),
        "actor": actor_of(alice, "owner"),
        "tenant": acme,
        "engine": "openai",
        "remote_base_url": "https://api.example.com",
        "remote_model": "big",
    }
    with tenant_scope(acme.pk):
        with pytest.raises(NotAllowed):
            deployments.create(**arguments)
        settings.TENANT_REMOTE_ENGINES = True
        deployment = deployments.create(**arguments)
        settings.TENANT_REMOTE_ENGINES = False
        with pytest.raises(NotAllowed):
            deployments.set_credential(deployment=deployment, credential="x", actor=actor_of(alice, "owner"))


def test_an_address_belongs_to_a_remote_engine_alone() -> None:
    with platform_scope(reason="tests"):
        for engine, url in (("simulated", "https://api.example.com"), ("openai", "")):
            row = Deployment(
                version=ModelVersionFactory(tenant=None), name="x", engine=engine, remote_base_url=url
            )
            with pytest.raises(IntegrityError), transaction.atomic():
                row.save(force_insert=True)


# --- What the engine worker and the reconciler are told ---------------------------------------------------------------


def test_a_worker_is_told_what_to_load(acme: Tenant) -> None:
    manifest = {"config.json": {"sha256": "0" * 64, "size": 2}}
    version = ModelVersionFactory(
        model=ModelFactory(tenant=acme, name="ours", task="embedding"),
        source=Source.FOLDER,
        artifact_path="/models/ours",
        manifest=manifest,
        digest="1" * 64,
        context_length=512,
    )
    deployment = DeploymentFactory(version=version, engine="vllm", engine_args={"max_model_len": 256})
    spec = selectors.engine_spec(deployment_id=deployment.pk)
    assert (spec.path, spec.digest, spec.manifest) == ("/models/ours", "1" * 64, manifest)
    assert (spec.engine, spec.task, spec.served_name) == ("vllm", "embedding", "ours")
    assert (spec.args, spec.context_length) == ({"max_model_len": 256}, 256)
    assert (spec.tenant_id, spec.version_id, spec.deployment_id) == (acme.pk, version.pk, deployment.pk)
    assert not hasattr(spec, "remote_credential")


def test_what_is_not_to_run_is_not_told_to_a_worker(acme: Tenant) -> None:
    running = DeploymentFactory(tenant=acme)
    stopped = DeploymentFactory(tenant=acme, running=False)
    staged = DeploymentFactory(version=ModelVersionFactory(tenant=acme, state="staging"))
    assert selectors.serving_deployments() == [running]
    assert selectors.engine_spec(deployment_id=running.pk)
    for deployment in (stopped, staged):
        with pytest.raises(NotFound):
            selectors.engine_spec(deployment_id=deployment.pk)
    with pytest.raises(NotFound):
        selectors.remote_credential(deployment_id=acme.pk)
