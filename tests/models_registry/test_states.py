"""The life of a version: every pair of states, and what a state means for deployments."""

from __future__ import annotations

from itertools import product

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from audit.models import AuditEvent
from core.actors import Actor, system
from core.errors import Conflict, InvalidInput, NotAllowed
from core.scoping import platform_scope, tenant_scope
from models_registry.errors import TransitionRefused
from models_registry.models import TRANSITIONS, Deployment, ModelVersion, Source, VersionState
from models_registry.services import versions
from tenants.models import Tenant
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory

pytestmark = pytest.mark.django_db

SYSTEM = system("tests")
# Written out once more, so that a change of the table is a decision.
ALLOWED = {
    ("draft", "training"), ("draft", "staging"), ("draft", "retired"),
    ("training", "draft"), ("training", "staging"), ("training", "retired"),
    ("staging", "training"), ("staging", "online"), ("staging", "retired"),
    ("online", "staging"), ("online", "deprecated"),
    ("deprecated", "online"), ("deprecated", "retired"),
}  # fmt: skip


def test_the_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(VersionState)
    assert {
        (before.value, after.value) for before, afters in TRANSITIONS.items() for after in afters
    } == ALLOWED


@pytest.mark.parametrize(("before", "after"), list(product(VersionState.values, repeat=2)))
def test_every_pair_of_states(before: str, after: str) -> None:
    version = ModelVersionFactory(tenant=None, state=before)
    with platform_scope(reason="tests"):
        if before == after:
            versions.set_state(version=version, state=after, actor=SYSTEM)
            assert not AuditEvent.objects.exists()
        elif (before, after) in ALLOWED:
            versions.set_state(version=version, state=after, actor=SYSTEM, reason="because")
            event = AuditEvent.objects.get()
            assert (event.action, event.reason) == ("models_registry.version.state_changed", "because")
            assert (event.before, event.after) == ({"state": before}, {"state": after})
        else:
            with pytest.raises(TransitionRefused):
                versions.set_state(version=version, state=after, actor=SYSTEM)
            after = before
        version.refresh_from_db()
        assert version.state == after


@pytest.mark.parametrize("state", VersionState.values)
def test_a_version_serves_while_it_is_online_or_deprecated(state: str) -> None:
    deployment = DeploymentFactory(version=ModelVersionFactory(tenant=None, state=state))
    serves = state in ("online", "deprecated")
    assert (deployment.version.is_serving, deployment.is_serving) == (serves, serves)
    with platform_scope(reason="tests"):
        assert Deployment.objects.get_queryset().serving().exists() == serves
        Deployment.objects.update(running=False)
        assert not Deployment.objects.get_queryset().serving().exists()


def test_an_unknown_state_is_refused() -> None:
    version = ModelVersionFactory(tenant=None)
    with platform_scope(reason="tests"), pytest.raises(InvalidInput):
        versions.set_state(version=version, state="flying", actor=SYSTEM)


def test_retirement_stops_the_deployments() -> None:
    deployment = DeploymentFactory(version=ModelVersionFactory(tenant=None))
    with platform_scope(reason="tests"):
        versions.retire(version=deployment.version, actor=SYSTEM, reason="old")
        versions.retire(version=deployment.version, actor=SYSTEM)
        deployment.refresh_from_db()
        assert not deployment.running
        assert AuditEvent.objects.filter(action="models_registry.version.state_changed").count() == 2


@pytest.mark.parametrize("state", [state for state in VersionState.values if state != "retired"])
def test_every_version_can_be_retired(state: str) -> None:
    version = ModelVersionFactory(tenant=None, state=state)
    with platform_scope(reason="tests"):
        assert versions.retire(version=version, actor=SYSTEM).state == "retired"


def test_unverified_files_never_come_into_service() -> None:
    version = ModelVersionFactory(tenant=None, source=Source.FOLDER, state="training")
    with platform_scope(reason="tests"):
        with pytest.raises(Conflict) as caught:
            versions.set_state(version=version, state="staging", actor=SYSTEM)
        assert caught.value.code == "not_verified"


def test_the_database_holds_unverified_files_back_too() -> None:
    version = ModelVersionFactory(tenant=None, source=Source.FOLDER, state="training")
    with platform_scope(reason="tests"), pytest.raises(Exception, match="models_registry_version_verified"):
        ModelVersion.objects.filter(pk=version.pk).update(state="online")


@pytest.mark.parametrize("role", ["developer", "viewer", "billing", ""])
def test_only_who_manages_the_model_moves_its_versions(acme: Tenant, role: str) -> None:
    version = ModelVersionFactory(tenant=acme)
    with tenant_scope(acme.pk), pytest.raises(NotAllowed):
        versions.set_state(
            version=version, state="deprecated", actor=Actor(kind="person", label="x", role=role)
        )


def test_an_owner_does_not_move_what_is_only_shared(acme: Tenant) -> None:
    version = ModelVersionFactory(model=ModelFactory(tenant=None, visibility="public"))
    with tenant_scope(acme.pk), pytest.raises(NotAllowed):
        versions.set_state(
            version=version, state="deprecated", actor=Actor(kind="person", label="x", role="owner")
        )


def test_every_process_hears_of_a_change(
    acme: Tenant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    from core.events import STREAM
    from core.valkey import sync_client

    version = ModelVersionFactory(tenant=acme)
    sync_client().delete(STREAM)
    with django_capture_on_commit_callbacks(execute=True), tenant_scope(acme.pk):
        versions.set_state(version=version, state="deprecated", actor=SYSTEM)
    ((_id, fields),) = sync_client().xrange(STREAM)  # type: ignore[misc]
    assert b'"registry"' in fields[b"event"]
    assert str(acme.pk).encode() in fields[b"event"]
