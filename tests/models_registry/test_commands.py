"""`manage.py register_model` and `retire_model`: one command from files to a running model, and back."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from core.scoping import platform_scope
from models_registry import addresses, artifacts, selectors
from models_registry.models import Alias, Deployment, Model, ModelVersion
from models_registry.selectors import routes_for
from tenants.models import Tenant
from tests.models_registry.files import make_model, safetensors

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    """What the command says."""
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def names(tenant: Tenant) -> set[str]:
    """What the tenant can call."""
    return {route.name for route in routes_for(tenant_id=tenant.pk)}


def only(table: type[Any]) -> Any:
    """The one row of a table."""
    with platform_scope(reason="tests"):
        return table.objects.get()


def test_one_command_makes_a_public_model_of_the_platform_with_one_replica(
    root: Path, acme: Tenant, globex: Tenant
) -> None:
    folder = make_model(root / "good")
    said = run("register_model", str(folder), "--name", "good", "--engine-arg", "max_model_len=1024")
    for part in (
        "good",
        "platform",
        "public",
        "LlamaForCausalLM",
        "2048",
        "online",
        "good-v1",
        "/v1/chat/completions",
    ):
        assert part in said
    assert names(acme) == names(globex) == {"good"}
    deployment = only(Deployment)
    assert (deployment.engine, deployment.desired_replicas, deployment.tenant_id) == ("vllm", 1, None)
    assert deployment.engine_args == {"max_model_len": 1024}


def test_again_with_the_same_files_nothing_new_is_registered(root: Path) -> None:
    folder = make_model(root / "good")
    for replicas in ("1", "2"):
        said = run("register_model", str(folder), "--name", "good", "--replicas", replicas)
    assert "already" in said
    assert only(ModelVersion).number == 1
    assert only(Deployment).desired_replicas == 2


def test_changed_files_become_a_new_version_and_the_old_one_is_pointed_out(root: Path, acme: Tenant) -> None:
    folder = make_model(root / "good")
    run("register_model", str(folder), "--name", "good")
    make_model(folder, weights=safetensors({"a": ("F32", [3])}))
    said = run("register_model", str(folder), "--name", "good")
    assert "retire_model good --number 1" in said
    (route,) = routes_for(tenant_id=acme.pk)
    with platform_scope(reason="tests"):
        assert selectors.versions().get(pk=route.version_id).number == 2
    run("retire_model", "good", "--number", "1", "--reason", "old files")
    with platform_scope(reason="tests"):
        assert list(ModelVersion.objects.order_by("number").values_list("state", flat=True)) == [
            "retired",
            "online",
        ]
        assert list(Deployment.objects.order_by("id").values_list("running", flat=True)) == [False, True]


def test_a_model_for_some_tenants(root: Path, acme: Tenant, globex: Tenant) -> None:
    run("register_model", str(make_model(root / "good")), "--name", "good", "--grant", "acme")
    assert only(Model).visibility == "granted"
    assert (names(acme), names(globex)) == ({"good"}, set())


def test_a_model_of_a_tenant(root: Path, acme: Tenant, globex: Tenant) -> None:
    run(
        "register_model",
        str(make_model(root / "good")),
        "--name",
        "good",
        "--tenant",
        "acme",
        "--alias",
        "gpt-4o",
    )
    assert only(Deployment).tenant_id == acme.pk
    assert only(Alias).tenant_id == acme.pk
    assert (names(acme), names(globex)) == ({"good", "gpt-4o"}, set())


def test_registering_without_deploying(root: Path, acme: Tenant) -> None:
    run(
        "register_model",
        str(make_model(root / "good")),
        "--name",
        "good",
        "--no-deploy",
        "--task",
        "embedding",
    )
    assert names(acme) == set()
    assert only(Model).task == "embedding"


def test_a_remote_model(monkeypatch: pytest.MonkeyPatch, acme: Tenant) -> None:
    monkeypatch.setattr(
        addresses.socket, "getaddrinfo", lambda *_a, **_k: [(0, 0, 0, "", ("93.184.216.34", 443))]
    )
    monkeypatch.setenv("TEST_CREDENTIAL", "sk-secret")
    words = (
        "register_model", "https://api.example.com/v1/", "--name", "big", "--remote-model", "big-large",
        "--credential-env", "TEST_CREDENTIAL", "--context-length", "8192", "--engine-arg", "timeout_s=30",
    )  # fmt: skip
    said = run(*words)
    assert "sk-secret" not in said
    (route,) = routes_for(tenant_id=acme.pk)
    assert (route.name, route.engine, route.context_length) == ("big", "openai", 8192)
    assert selectors.remote_credential(deployment_id=route.deployment_id) == "sk-secret"
    assert selectors.engine_spec(deployment_id=route.deployment_id).remote_model == "big-large"
    run(*words)
    assert only(Deployment).running


def test_a_simulated_model(acme: Tenant) -> None:
    for _ in range(2):
        run("register_model", "simulated", "--name", "sim", "--engine-arg", "tokens=8", "--replicas", "2")
    deployment = only(Deployment)
    assert (deployment.engine, deployment.engine_args, deployment.desired_replicas) == (
        "simulated",
        {"tokens": 8},
        2,
    )
    assert names(acme) == {"sim"}


def test_a_model_is_held_to_a_manifest(root: Path, tmp_path: Path) -> None:
    folder, manifest = make_model(root / "good"), tmp_path / "manifest.json"
    manifest.write_text(json.dumps(artifacts.verify(folder).manifest))
    run("register_model", str(folder), "--name", "good", "--manifest", str(manifest), "--no-deploy")
    (folder / "README.md").write_text("added")
    with pytest.raises(CommandError, match=r"README\.md"):
        run("register_model", str(folder), "--name", "other", "--manifest", str(manifest))


def test_a_relative_path_is_relative_to_where_one_stands(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(root / "good")
    monkeypatch.chdir(root)
    run("register_model", "good", "--name", "good", "--no-deploy")
    assert only(ModelVersion).artifact_path == str(root / "good")


@pytest.mark.parametrize(
    "words",
    [
        ("/etc", "--name", "x"),
        ("{root}/absent", "--name", "x"),
        ("{root}/good", "--name", "Not A Name"),
        ("{root}/good", "--name", "x", "--tenant", "nobody"),
        ("{root}/good", "--name", "x", "--grant", "nobody"),
        ("{root}/good", "--name", "x", "--engine-arg", "trust_remote_code=true"),
        ("{root}/good", "--name", "x", "--engine-arg", "max_model_len=4096"),
        ("{root}/good", "--name", "x", "--replicas", "0"),
        ("{root}/good", "--name", "x", "--alias", "not a name"),
        ("{root}/good", "--name", "x", "--credential-env", "NO_SUCH_VARIABLE"),
        ("{root}/good", "--name", "x", "--manifest", "/absent"),
        ("https://user:pass@example.com", "--name", "x"),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(root: Path, words: tuple[str, ...]) -> None:
    make_model(root / "good")
    with pytest.raises(CommandError) as caught:
        run("register_model", *(word.format(root=root) for word in words))
    assert str(caught.value)
    with platform_scope(reason="tests"):
        assert not any(table.objects.exists() for table in (Model, ModelVersion, Alias, Deployment))


def test_retiring_a_model(root: Path, acme: Tenant) -> None:
    run("register_model", str(make_model(root / "good")), "--name", "good")
    said = run("retire_model", "good")
    assert "good" in said
    assert names(acme) == set()
    assert (only(ModelVersion).state, only(Deployment).running) == ("retired", False)
    with pytest.raises(CommandError):
        run("retire_model", "absent")
    with pytest.raises(CommandError):
        run("retire_model", "good", "--number", "9")
