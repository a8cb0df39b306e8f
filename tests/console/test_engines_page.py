"""The operator's page of engines: what runs, and who may change it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import AuditEvent
from core.scoping import platform_scope
from models_registry.models import Deployment
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory

ENGINES = reverse("calls:engines")


@pytest.fixture
def deployed(db: None) -> Any:
    """A deployment of the platform's."""
    model = ModelFactory(tenant=None, name="chatter", visibility="public", task="chat")
    return DeploymentFactory(
        version=ModelVersionFactory(model=model, tenant=None), tenant=None, name="chatter-1"
    )


def change(client: Client, row: Any, what: str, **given: str) -> Any:
    return client.post(reverse("calls:engine-change", args=[row.public_id, what]), given, follow=True)


def stored(row: Any) -> Any:
    with platform_scope(reason="tests"):
        return Deployment.objects.get(pk=row.pk)


def test_an_operator_sees_and_changes_what_runs(olive_client: Client, deployed: Any) -> None:
    page = olive_client.get(ENGINES).content.decode()
    assert "chatter-1" in page
    assert "No node has reported" in page
    change(olive_client, deployed, "scale", replicas="3")
    assert stored(deployed).desired_replicas == 3
    change(olive_client, deployed, "stop")
    assert not stored(deployed).running
    change(olive_client, deployed, "start")
    assert stored(deployed).running
    with platform_scope(reason="tests"):
        assert (
            AuditEvent.objects.filter(reason__contains="engines").exists()
            or AuditEvent.objects.filter(after__reason="engines").exists()
        ), "each visit is in the trail"


@pytest.mark.parametrize("replicas", ["-1", "many", "", "1001"])
def test_a_number_that_is_none_changes_nothing(olive_client: Client, deployed: Any, replicas: str) -> None:
    before = stored(deployed).desired_replicas
    assert "from 0 to 1000" in change(olive_client, deployed, "scale", replicas=replicas).content.decode()
    assert stored(deployed).desired_replicas == before


def test_support_looks_and_nobody_else_does(
    sam_client: Client, alice_client: Client, client: Client, deployed: Any
) -> None:
    page = sam_client.get(ENGINES).content.decode()
    assert "chatter-1" in page
    assert "Scale" not in page
    for outsider in (sam_client, alice_client):
        assert change(outsider, deployed, "stop").status_code == 403
    assert alice_client.get(ENGINES).status_code == 403
    assert ENGINES not in alice_client.get(reverse("console:home")).content.decode()
    assert client.get(ENGINES)["Location"].startswith(reverse("console:sign-in"))
    assert stored(deployed).running
    assert change(alice_client, deployed, "nonsense").status_code == 403


def test_nothing_else_can_be_done_to_a_deployment(olive_client: Client, deployed: Any) -> None:
    assert change(olive_client, deployed, "explode").status_code == 404
    assert change(olive_client, type("None", (), {"public_id": "dep_x"}), "stop").status_code == 404


def test_staff_without_a_tenant_are_led_to_the_platforms_pages_alone(olive_client: Client) -> None:
    page = olive_client.get(reverse("console:home")).content.decode()
    assert ENGINES in page
    assert reverse("billing:usage") not in page
