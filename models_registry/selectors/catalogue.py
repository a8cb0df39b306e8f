"""Models, versions, aliases and deployments that the scope in force may see."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model as AnyModel
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from core.errors import NotFound
from core.ids import parse_public_id
from core.scoping import current_scope
from models_registry.models import Alias, Deployment, Model, ModelVersion

Row = TypeVar("Row", bound=AnyModel)


def models() -> QuerySet[Model]:
    """Every visible model, by name."""
    return Model.objects.all()


def model_by_id(*, model_id: UUID) -> Model:
    """One visible model. Raises NotFound."""
    return _found(models().filter(pk=model_id).first(), _("There is no such model."))


def model_by_public_id(*, public_id: str) -> Model:
    """One visible model by its `mdl_…` id. Raises NotFound."""
    return _by_public_id(models(), public_id, _("There is no such model."))


def model_by_name(*, name: str) -> Model:
    """One visible model by name: `<owner>/<name>` of a tenant's, else one's own, else the platform's.

    Raises NotFound.
    """
    namespace, _slash, bare = name.rpartition("/")
    active = current_scope().tenant_id
    candidates = list(models().filter(name=bare))
    wanted = [model for model in candidates if model.namespace == namespace]
    if not namespace:
        wanted = [model for model in candidates if active and model.tenant_id == active] + wanted
    return _found(wanted[0] if wanted else None, _("There is no such model."))


def versions(*, model: Model | None = None) -> QuerySet[ModelVersion]:
    """Versions of every visible model, or of one, the newest first."""
    found = ModelVersion.objects.select_related("model").order_by("model_id", "-number")
    return found if model is None else found.filter(model=model)


def version_by_public_id(*, public_id: str) -> ModelVersion:
    """One visible version by its `ver_…` id. Raises NotFound."""
    return _by_public_id(versions(), public_id, _("There is no such version."))


def version_by_number(*, model: Model, number: int) -> ModelVersion:
    """One version of a visible model. Raises NotFound."""
    return _found(versions(model=model).filter(number=number).first(), _("There is no such version."))


def aliases() -> QuerySet[Alias]:
    """The tenant's own aliases and the platform's that lead to something visible, by name."""
    return Alias.objects.select_related("version__model").order_by("name", "id")


def alias_by_public_id(*, public_id: str) -> Alias:
    """One visible alias by its `als_…` id. Raises NotFound."""
    return _by_public_id(aliases(), public_id, _("There is no such alias."))


def deployments() -> QuerySet[Deployment]:
    """The tenant's own deployments and the shared ones of visible models, by name; without credentials."""
    return Deployment.objects.select_related("version__model").order_by("name", "id")


def deployment_by_public_id(*, public_id: str) -> Deployment:
    """One visible deployment by its `dep_…` id. Raises NotFound."""
    return _by_public_id(deployments(), public_id, _("There is no such deployment."))


def _by_public_id(rows: QuerySet[Row], public_id: str, absent: str) -> Row:
    row_type: Any = rows.model
    try:
        key = parse_public_id(public_id, row_type.id_prefix)
    except ValueError:
        raise NotFound(absent) from None
    return _found(rows.filter(pk=key).first(), absent)


def _found(row: Row | None, absent: str) -> Row:
    if row is None:
        raise NotFound(absent)
    return row
