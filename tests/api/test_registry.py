"""Models, versions, aliases, grants and deployments through REST."""

from __future__ import annotations

import pytest

from core.scoping import platform_scope
from models_registry.models import Deployment
from tests.api.client import with_key
from tests.factories.models_registry import (
    AliasFactory,
    DeploymentFactory,
    ModelFactory,
    ModelVersionFactory,
    TenantGrantFactory,
)
from tests.factories.tenants import MembershipFactory

ADDRESS = "http://127.0.0.1:9/v1"


@pytest.fixture
def shared(db):
    """A public model of the platform with a version, deployed for all."""
    model = ModelFactory(tenant=None, visibility="public", name="atrium-starter")
    version = ModelVersionFactory(
        model=model, artifact_path="/srv/models/starter", manifest={"config.json": {"sha256": "0", "size": 1}}
    )
    return DeploymentFactory(
        version=version,
        engine="openai",
        remote_base_url=ADDRESS,
        remote_model="there",
        engine_args={"capacity": 3},
    )


def test_a_model_is_registered_with_its_first_version(alice_rest, acme):
    made = alice_rest.post(
        "/models/",
        {
            "name": "drill",
            "source": "simulated",
            "title": "For drills",
            "tags": ["test"],
            "context_length": 2048,
        },
    )
    assert made.status_code == 201, made.content
    model = made.json()
    assert model["owner"] == acme.public_id
    assert model["qualified_name"] == "acme/drill"
    assert model["visibility"] == "private"
    assert model["permissions"] == ["deploy", "invoke", "manage", "view"]
    assert alice_rest.get(made["Location"]).json() == model
    (version,) = alice_rest.get(f"/versions/?model={model['id']}").json()["results"]
    assert version["number"] == 1
    assert version["state"] == "staging"
    assert version["context_length"] == 2048


def test_an_operators_model_is_the_platforms(olive_rest, alice_rest):
    body = {"name": "hall", "source": "simulated", "visibility": "public"}
    assert olive_rest.post("/models/", body).json()["owner"] == "platform"
    (seen,) = alice_rest.get("/models/?owner=platform").json()["results"]
    assert seen["qualified_name"] == "hall"
    changed = alice_rest.patch(f"/models/{seen['id']}/", {"title": "mine"})
    assert changed.status_code == 403


@pytest.mark.parametrize("path", ["/etc", "../../etc", "/srv/models/starter", "relative"])
def test_a_folder_outside_the_tenants_own_is_refused(alice_rest, path):
    answer = alice_rest.post("/models/", {"name": "drill", "path": path})
    assert answer.status_code == 400
    assert answer.json()["code"].startswith("artifact_")
    assert answer.json()["errors"][0]["field"] == "path"


def test_trust_cannot_be_asked_for(alice_rest, acme):
    version = ModelVersionFactory(tenant=acme)
    for name in ("trust_remote_code", "model", "hf_overrides", "download_dir"):
        body = {"version": version.public_id, "engine": "simulated", "engine_args": {name: True}}
        answer = alice_rest.post("/deployments/", body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == f"engine_args.{name}"
    assert alice_rest.post("/models/", {"name": "x", "trust_remote_code": True}).status_code == 400


def test_a_model_is_described_shown_and_retired(alice_rest, acme):
    version = ModelVersionFactory(model=ModelFactory(tenant=acme))
    path = f"/models/{version.model.public_id}/"
    changed = alice_rest.patch(path, {"title": "Better", "visibility": "public", "tags": ["a", "b"]}).json()
    assert (changed["title"], changed["visibility"], changed["tags"]) == ("Better", "public", ["a", "b"])
    assert alice_rest.get("/models/?tag=a").json()["results"][0]["title"] == "Better"
    assert alice_rest.get("/models/?tag=c").json()["results"] == []
    assert alice_rest.post(f"{path}retire/", {}).status_code == 400
    assert alice_rest.post(f"{path}retire/", {"reason": "old"}).status_code == 200
    assert alice_rest.get(f"/versions/{version.public_id}/").json()["state"] == "retired"


def test_a_version_moves_through_its_states(alice_rest, acme):
    version = ModelVersionFactory(tenant=acme, state="staging")
    path = f"/versions/{version.public_id}/set-state/"
    assert alice_rest.post(path, {"state": "online"}).json()["state"] == "online"
    refused = alice_rest.post(path, {"state": "draft"})
    assert refused.status_code == 409
    assert refused.json()["code"] == "transition_refused"
    assert alice_rest.post(path, {"state": "flying"}).status_code == 400


def test_a_further_version(alice_rest, acme):
    first = ModelVersionFactory(model=ModelFactory(tenant=acme), number=1)
    made = alice_rest.post(
        "/versions/", {"model": first.model.public_id, "source": "simulated", "label": "b"}
    )
    assert made.status_code == 201, made.content
    assert made.json()["number"] == 2
    assert made.json()["label"] == "b"


def test_aliases_lead_and_are_moved_and_removed(alice_rest, acme):
    first, second = ModelVersionFactory(tenant=acme), ModelVersionFactory(tenant=acme)
    made = alice_rest.post("/aliases/", {"name": "Best/One", "version": first.public_id})
    assert made.status_code == 201, made.content
    path = f"/aliases/{made.json()['id']}/"
    assert alice_rest.patch(path, {"version": second.public_id}).json()["version"] == second.public_id
    assert alice_rest.get("/aliases/?name=Best/One").json()["results"][0]["version"] == second.public_id
    assert alice_rest.delete(path).status_code == 204
    assert alice_rest.get(path).status_code == 404


def test_nobody_moves_the_platforms_aliases(alice_rest, shared, acme):
    alias = AliasFactory(tenant=None, version=shared.version)
    own = ModelVersionFactory(tenant=acme)
    path = f"/aliases/{alias.public_id}/"
    assert alice_rest.get(path).status_code == 200
    assert alice_rest.patch(path, {"version": own.public_id}).status_code == 403
    assert alice_rest.delete(path).status_code == 403


def test_a_model_is_shared_with_a_tenant_and_taken_back(alice_rest, charlie_rest, acme, globex):
    version = ModelVersionFactory(model=ModelFactory(tenant=acme))
    model = version.model.public_id
    assert charlie_rest.get(f"/models/{model}/").status_code == 404
    body = {"model": model, "tenant": globex.public_id, "permission": "invoke"}
    made = alice_rest.post("/grants/tenants/", body)
    assert made.status_code == 201, made.content
    assert made.json()["permission"] == "invoke"
    assert charlie_rest.get(f"/models/{model}/").json()["permissions"] == ["invoke", "view"]
    (got,) = charlie_rest.get("/grants/tenants/").json()["results"]
    assert got["id"] == made.json()["id"]
    assert charlie_rest.delete(f"/grants/tenants/{got['id']}/").status_code == 403
    assert alice_rest.delete(f"/grants/tenants/{got['id']}/").status_code == 204
    assert charlie_rest.get(f"/models/{model}/").status_code == 404


def test_a_tenant_that_does_not_exist_is_no_way_to_find_one(alice_rest, acme):
    model = ModelFactory(tenant=acme)
    body = {"model": model.public_id, "tenant": "globex", "permission": "invoke"}
    assert alice_rest.post("/grants/tenants/", body).status_code == 400
    body["tenant"] = "ten_00000000000000000000000000"
    assert alice_rest.post("/grants/tenants/", body).status_code == 400


def test_a_permission_for_a_member(alice_rest, bob_rest, bob, acme):
    model = ModelFactory(tenant=acme, restrict_to_members=True)
    assert "invoke" not in bob_rest.get(f"/models/{model.public_id}/").json()["permissions"]
    (row,) = alice_rest.get("/members/?email=bob@acme.example").json()["results"]
    made = alice_rest.post(
        "/grants/members/", {"model": model.public_id, "member": row["id"], "permission": "invoke"}
    )
    assert made.status_code == 201, made.content
    assert made.json()["email"] == "bob@acme.example"
    assert "invoke" in bob_rest.get(f"/models/{model.public_id}/").json()["permissions"]
    assert alice_rest.delete(f"/grants/members/{made.json()['id']}/").status_code == 204
    assert "invoke" not in bob_rest.get(f"/models/{model.public_id}/").json()["permissions"]


@pytest.mark.slow
def test_a_deployment_is_made_scaled_stopped_started_and_removed(alice_rest, acme):
    version = ModelVersionFactory(model=ModelFactory(tenant=acme, name="drill"), number=1)
    made = alice_rest.post("/deployments/", {"version": version.public_id, "engine": "simulated"})
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["name"], body["replicas"], body["running"]) == ("drill-v1", 1, True)
    path = f"/deployments/{body['id']}"
    assert alice_rest.post(f"{path}/scale/", {"replicas": 2}).json()["replicas"] == 2
    assert alice_rest.post(f"{path}/scale/", {"replicas": 0}).status_code == 400
    assert alice_rest.delete(f"{path}/").status_code == 409
    assert alice_rest.post(f"{path}/stop/", {"reason": "night"}).json()["running"] is False
    assert alice_rest.post(f"{path}/start/").json()["running"] is True
    alice_rest.post(f"{path}/stop/", {})
    assert alice_rest.delete(f"{path}/").status_code == 204
    assert alice_rest.get(f"{path}/").status_code == 404


def test_a_deployment_tells_what_really_runs(alice_rest, acme):
    deployment = DeploymentFactory(tenant=acme)
    status = alice_rest.get(f"/deployments/{deployment.public_id}/").json()["status"]
    assert status == {"ready": 0, "waiting": 0, "running": 0, "last_failure": "", "replicas": []}


def test_tenants_see_a_shared_deployment_and_nothing_of_its_inside(alice_rest, olive_rest, shared):
    seen = alice_rest.get(f"/deployments/{shared.public_id}/").json()
    assert seen["owner"] == "platform"
    assert (seen["engine_args"], seen["remote_base_url"], seen["remote_model"]) == ({}, "", "")
    assert seen["status"]["waiting"] is None
    assert seen["status"]["replicas"] == []
    version = alice_rest.get(f"/versions/{shared.version.public_id}/").json()
    assert (version["artifact_path"], version["manifest"]) == ("", {})
    assert olive_rest.get(f"/deployments/{shared.public_id}/").json()["remote_base_url"] == ADDRESS
    assert (
        olive_rest.get(f"/versions/{shared.version.public_id}/").json()["artifact_path"]
        == "/srv/models/starter"
    )
    assert alice_rest.post(f"/deployments/{shared.public_id}/stop/", {}).status_code == 403


def test_a_credential_is_never_shown_again(olive_rest, shared):
    path = f"/deployments/{shared.public_id}"
    answer = olive_rest.post(f"{path}/set-credential/", {"credential": "sk-remote-0123456789"})
    assert answer.status_code == 200, answer.content
    everything = [
        answer,
        olive_rest.get(f"{path}/"),
        olive_rest.get("/deployments/"),
        olive_rest.get("/audit-events/"),
    ]
    assert not any("0123456789" in each.content.decode() for each in everything)
    with platform_scope("tests"):
        stored = Deployment.unscoped.get(pk=shared.pk).remote_credential
    assert stored
    assert "0123456789" not in stored


def test_tenants_name_no_address(alice_rest, acme):
    version = ModelVersionFactory(tenant=acme, source="remote")
    body = {
        "version": version.public_id,
        "engine": "openai",
        "remote_base_url": "http://169.254.169.254/",
        "remote_model": "x",
    }
    assert alice_rest.post("/deployments/", body).status_code in (400, 403)


def test_operators_see_the_nodes_and_nobody_else(olive_rest, sam_rest, alice_rest, acme):
    nodes = olive_rest.get("/nodes/")
    assert nodes.status_code == 200
    assert set(nodes.json()) == {"results", "next", "previous"}
    assert sam_rest.get("/nodes/").status_code == 200
    assert alice_rest.get("/nodes/").status_code == 403
    assert with_key(acme, "read").get("/nodes/").status_code == 403
    assert olive_rest.get("/nodes/?x=1").status_code == 400


def test_staff_see_every_tenants_rows(olive_rest, sam_rest, acme, globex):
    ids = {ModelFactory(tenant=tenant).public_id for tenant in (acme, globex, None)}
    for rest in (olive_rest, sam_rest):
        assert {row["id"] for row in rest.get("/models/").json()["results"]} == ids
    support = sam_rest.post("/models/", {"name": "x", "source": "simulated"})
    assert support.status_code == 403


@pytest.mark.slow
def test_lists_cost_the_same_however_many_rows(alice_rest, acme, django_assert_max_num_queries):
    paths = ("/models/", "/versions/", "/aliases/", "/deployments/", "/grants/members/", "/members/")

    def more():
        version = ModelVersionFactory(model=ModelFactory(tenant=acme))
        AliasFactory(version=version)
        DeploymentFactory(version=version)
        MembershipFactory(tenant=acme)

    more()
    costs = {}
    for path in paths:
        with django_assert_max_num_queries(20) as asked:
            alice_rest.get(path)
        costs[path] = len(asked)
    more()
    more()
    for path in paths:
        with django_assert_max_num_queries(costs[path]):
            alice_rest.get(path)


def test_grants_got_from_the_platform_are_seen(alice_rest, acme):
    grant = TenantGrantFactory(tenant=acme)
    (row,) = alice_rest.get(f"/grants/tenants/?model={grant.content_object.public_id}").json()["results"]
    assert row["tenant"] == acme.public_id
    assert alice_rest.get("/grants/tenants/?permission=deploy").json()["results"] == []
