"""The models of a first start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from core.scoping import platform_scope
from models_registry import artifacts, engine_arguments
from models_registry.models import Deployment, ModelVersion
from models_registry.selectors import routes_for
from models_registry.services import demo, deployments
from models_registry.services import models as model_services
from tenants.models import Tenant
from tests.models_registry.files import make_model, safetensors

pytestmark = pytest.mark.django_db


@pytest.fixture
def weights(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter model's folder of a project that lies elsewhere; no package carries a model."""
    settings.ROOT = tmp_path
    settings.MODEL_ROOTS = [tmp_path / "starter_model"]
    monkeypatch.setattr(artifacts, "package_folder", lambda package: None)
    return tmp_path / "starter_model" / "weights"


def state() -> list[tuple[int, str, bool]]:
    """Versions of the starter model: number, state, whether its deployment runs."""
    with platform_scope(reason="tests"):
        rows = Deployment.objects.select_related("version").order_by("version__number")
        return [(row.version.number, row.version.state, row.running) for row in rows]


def test_without_files_it_says_so_and_goes_on(weights: Path) -> None:
    lines = demo.seed()
    assert len(lines) == 2
    assert all("left out" in line for line in lines)


def test_with_files_the_model_can_be_called_by_everybody(weights: Path, acme: Tenant) -> None:
    make_model(weights)
    assert "version 1" in demo.seed()[0]
    (route,) = routes_for(tenant_id=acme.pk)
    assert (route.name, route.task, route.engine, route.context_length) == (
        "atrium-starter",
        "chat",
        "vllm",
        2048,
    )


def test_again_nothing_changes(weights: Path) -> None:
    make_model(weights)
    demo.seed()
    assert "already" in demo.seed()[0]
    assert state() == [(1, "online", True)]


def test_without_an_engine_nothing_is_offered_until_there_is_one(weights: Path, acme: Tenant) -> None:
    make_model(weights)
    assert "stopped" in demo.seed(engine_installed=False)[-1]
    assert routes_for(tenant_id=acme.pk) == []
    demo.seed(engine_installed=False)
    assert state() == [(1, "online", False)]
    assert "runs again" in demo.seed()[-1]
    assert [route.name for route in routes_for(tenant_id=acme.pk)] == ["atrium-starter"]


def test_what_an_operator_stopped_stays_stopped(weights: Path) -> None:
    make_model(weights)
    demo.seed()
    with platform_scope(reason="tests"):
        deployments.stop(deployment=Deployment.objects.get(), actor=demo.ACTOR, reason="too loud")
    demo.seed()
    assert state() == [(1, "online", False)]


def test_changed_weights_become_a_new_version_in_the_old_ones_place(weights: Path, acme: Tenant) -> None:
    make_model(weights)
    demo.seed()
    make_model(weights, weights=safetensors({"a": ("F32", [3])}))
    assert "version 2" in demo.seed()[0]
    assert state() == [(1, "retired", False), (2, "online", True)]
    assert len(routes_for(tenant_id=acme.pk)) == 1


def test_what_an_operator_retired_stays_retired(weights: Path) -> None:
    make_model(weights)
    demo.seed()
    with platform_scope(reason="tests"):
        model_services.retire(model=ModelVersion.objects.get().model, actor=demo.ACTOR)
    demo.seed()
    assert state() == [(1, "retired", False)]


def test_refused_files_are_named_and_leave_nothing_behind(weights: Path) -> None:
    make_model(weights)
    (weights / "evil.py").write_text("")
    assert "evil.py" in demo.seed()[0]
    with platform_scope(reason="tests"):
        assert not ModelVersion.objects.exists()


def test_the_embedding_model_comes_from_its_package(settings: Settings, acme: Tenant, tmp_path: Path) -> None:
    if artifacts.package_folder(demo.EMBEDDER_PACKAGE) is None:
        pytest.skip("the package is not installed")
    settings.ROOT = tmp_path
    demo.seed()
    (route,) = routes_for(tenant_id=acme.pk)
    assert (route.name, route.task, route.context_length) == ("minilm-embed", "embedding", 256)


def test_the_demos_engine_arguments_are_on_the_list() -> None:
    for model in demo.demo_models():
        assert engine_arguments.checked("vllm", model.engine_args) == model.engine_args
