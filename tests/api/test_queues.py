"""A tenant's own place in the queues, through REST."""

from __future__ import annotations

from typing import Any

import pytest

from core.scoping import platform_scope
from core.valkey import sync_client
from inference.queue.blocking import BlockingQueue
from tests.api.client import with_key
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory
from tests.factories.tenants import PlanFactory
from tests.inference.test_queue import ticket

LATER = 4_000_000_000_000


def give(tenant: Any, plan: Any) -> None:
    """Give a tenant a plan."""
    with platform_scope("test"):
        tenant.plan = plan
        tenant.save(update_fields=["plan"])


@pytest.fixture
def shared(db: None) -> Any:
    """A public model of the platform, deployed for all."""
    version = ModelVersionFactory(model=ModelFactory(tenant=None, visibility="public", name="hall"))
    return DeploymentFactory(tenant=None, version=version, name="hall")


def test_a_tenant_sees_its_own_requests_its_share_and_its_expected_wait(
    shared: Any, alice_rest: Any, acme: Any, globex: Any
) -> None:
    queue = BlockingQueue(sync_client(), str(shared.pk))
    for number in range(4):
        for tenant, weight in ((acme, 1.0), (globex, 3.0)):
            name = f"{tenant.slug}-{number}"
            made = ticket(str(shared.pk), str(tenant.pk), name, weight=weight, deadline_ms=LATER)
            queue.enqueue(made, 100)
    queue.take("rep", "1", room=2)
    answer = alice_rest.get("/queues/")
    assert answer.status_code == 200, answer.content
    (mine,) = answer.json()["results"]
    assert mine["deployment"] == shared.public_id
    assert (mine["name"], mine["model_name"]) == ("hall", shared.version.model.qualified_name)
    assert (mine["waiting"], mine["running"], mine["share"]) == (3, 1, 0.25)
    assert mine["turn"] == 1
    assert 0 < mine["first_wait_ms"] <= mine["expected_wait_ms"]
    theirs = with_key(globex, "read").get("/queues/").json()["results"][0]
    assert (theirs["waiting"], theirs["running"], theirs["share"], theirs["turn"]) == (3, 1, 0.75, 0)


def test_an_idle_queue_is_told_so(shared: Any, alice_rest: Any) -> None:
    (mine,) = alice_rest.get("/queues/").json()["results"]
    assert (mine["waiting"], mine["running"], mine["turn"]) == (0, 0, None)
    assert (mine["share"], mine["first_wait_ms"], mine["expected_wait_ms"]) == (1.0, None, 0)


def test_a_plans_weight_and_bound_count_before_the_first_request(
    shared: Any, alice_rest: Any, acme: Any, globex: Any
) -> None:
    give(acme, PlanFactory(weight=3, queue_limit=7))
    queue = BlockingQueue(sync_client(), str(shared.pk))
    queue.enqueue(ticket(str(shared.pk), str(globex.pk), "waits", weight=1.0, deadline_ms=LATER), 100)
    (mine,) = alice_rest.get("/queues/").json()["results"]
    assert (mine["share"], mine["limit"]) == (0.75, 7)


def test_queues_of_other_tenants_deployments_and_of_stopped_ones_are_not_there(
    alice_rest: Any, acme: Any, globex: Any
) -> None:
    for tenant, running in ((globex, True), (acme, False), (acme, True)):
        version = ModelVersionFactory(model=ModelFactory(tenant=tenant))
        DeploymentFactory(
            tenant=tenant, version=version, name=f"{tenant.slug}-{running}".lower(), running=running
        )
    assert [line["name"] for line in alice_rest.get("/queues/").json()["results"]] == ["acme-true"]
    assert alice_rest.get("/queues/?tenant=x").status_code == 400
