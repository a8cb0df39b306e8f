"""This application's classes of data, for the catalogue (`core.governance`)."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.governance import Counts, DataClass, register
from core.scoping import platform_scope
from models_registry.models import Alias, Deployment, MemberGrant, ModelVersion, TenantGrant

log = structlog.get_logger(__name__)


def release(tenant_id: UUID) -> Counts:
    """Take away what others hold of a tenant's models, and the files that nobody else serves.

    Rows of the tenant's own follow by themselves (`core.governance.delete_rows`). Replicas of its deployments end
    within seconds of their rows.
    """
    counts: Counts = {}
    with transaction.atomic(), platform_scope("governance.erase"):
        theirs = Q(version__tenant_id=tenant_id)
        for model, condition in (
            (Deployment, theirs & ~Q(tenant_id=tenant_id)),
            (Alias, theirs & ~Q(tenant_id=tenant_id)),
            (TenantGrant, Q(content_object__tenant_id=tenant_id) | Q(tenant_id=tenant_id)),
            (MemberGrant, Q(content_object__tenant_id=tenant_id) | Q(tenant_id=tenant_id)),
        ):
            found = list(model._default_manager.filter(condition).values_list("pk", flat=True))
            counts[model._meta.db_table] = model._default_manager.filter(pk__in=found).delete()[0]
        served = ModelVersion.objects.exclude(artifact_path="")
        owners = list(served.values_list("artifact_path", "tenant_id"))
    paths = {path for path, owner in owners if owner == tenant_id}
    others = {path for path, owner in owners if owner != tenant_id}
    counts["model files"] = sum(_remove(Path(path), others) for path in paths)
    return counts


def _remove(folder: Path, others: set[str]) -> int:
    """Remove a model's folder; returns how many files went.

    SECURITY: only below the platform's own folder for models, never what a version of somebody else lies in, above or
    below. What lies elsewhere is an operator's, who put it there, to remove: it is logged.
    """
    home = (Path(settings.ATRIUM_HOME) / "models").resolve()
    real = folder.resolve()
    shared = any(_overlap(real, Path(other).resolve()) for other in others)
    if real == home or home not in real.parents or shared:
        log.warning("governance.model_files_left", folder=str(folder), shared=shared)
        return 0
    if not real.is_dir():
        return 0
    count = sum(1 for file in real.rglob("*") if file.is_file())
    shutil.rmtree(real)
    return count


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def declare() -> None:
    """Put them into the catalogue."""
    register(
        DataClass(
            name="models",
            title=_("Models and deployments"),
            holds=_("Models, versions and adapters, their files, aliases, grants and deployments."),
            retained=_("Until they are removed."),
            models=(
                "models_registry.Model",
                "models_registry.ModelVersion",
                "models_registry.Alias",
                "models_registry.Deployment",
                "models_registry.TenantGrant",
                "models_registry.MemberGrant",
            ),
            files=("ATRIUM_HOME/models/<folder of the version>",),
            secret_fields=frozenset({"remote_credential", "artifact_path"}),
            erase=release,
        )
    )
