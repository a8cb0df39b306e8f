"""Registering models, describing them, and deciding who beside the owner sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from audit import services as audit
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from core.events import announce
from models_registry import policies, selectors
from models_registry.models import Model, ModelVersion, TenantGrant, Visibility
from models_registry.models.catalogue import Source
from models_registry.services import versions
from models_registry.services.changes import announce_model, check_fields, locked, require_owned
from tenants.models import Tenant

_DESCRIPTION = ("title", "description", "licence", "tags", "restrict_to_members")
MAX_TAGS = 20


def register(
    *,
    actor: Actor,
    name: str,
    tenant: Tenant | None = None,
    path: str | Path | None = None,
    source: str = Source.FOLDER,
    task: str = "chat",
    visibility: str = Visibility.PRIVATE,
    label: str = "",
    context_length: int | None = None,
    expected: Mapping[str, Any] | None = None,
    description: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """A new model with its first version, verified and in staging.

    Owned by `tenant`, or by the platform for none.

    `path` for a folder of files (see artifacts.verify, `expected` a manifest to hold them to); `source`
    remote or simulated for a model without files. `description` may hold title, description, licence, tags,
    restrict_to_members. Raises NotAllowed, InvalidInput, ArtifactRefused, Conflict when the owner has the
    name.
    """
    policies.require_owner(actor, "models_registry.model.register", is_platform=tenant is None)
    content = versions.examine(
        path=path, source=source, tenant=tenant, expected=expected, context_length=context_length
    )
    with transaction.atomic():
        model = Model(
            tenant=tenant,
            namespace=tenant.slug if tenant else "",
            name=name,
            task=task,
            visibility=visibility,
        )
        require_owned(model)
        _describe(model, description or {})
        check_fields(model, "name", "task", "visibility", *_DESCRIPTION)
        if Model.objects.filter(tenant=tenant, name=name).exists():
            raise Conflict(_("A model of this name exists already."), code="name_taken", field="name")
        model.save(force_insert=True)
        audit.record(
            "models_registry.model.registered",
            actor=actor,
            target=model,
            after={"name": name, "task": task, "visibility": visibility},
        )
        return versions.insert(model=model, actor=actor, content=content, label=label)


@transaction.atomic
def describe(*, model: Model, actor: Actor, **changes: Any) -> Model:
    """Change title, description, licence, tags, restrict_to_members.

    Raises NotAllowed, InvalidInput, NotFound.
    """
    row = _manageable(model, actor)
    before = {name: getattr(row, name) for name in changes if name in _DESCRIPTION}
    _describe(row, changes)
    check_fields(row, *_DESCRIPTION)
    row.save(update_fields=[*_DESCRIPTION, "updated_at"])
    audit.record("models_registry.model.changed", actor=actor, target=row, before=before, after=dict(changes))
    announce_model(row)
    return row


@transaction.atomic
def set_visibility(*, model: Model, visibility: str, actor: Actor) -> Model:
    """Show the model to nobody else (private), to tenants with a grant, or to everybody. Idempotent.

    Private takes every tenant's grant away: what is private is shared with no one. Raises NotAllowed,
    InvalidInput, NotFound.
    """
    row = _manageable(model, actor)
    before = row.visibility
    if visibility == before:
        return row
    row.visibility = visibility
    check_fields(row, "visibility")
    row.save(update_fields=["visibility", "updated_at"])
    taken = 0
    if visibility == Visibility.PRIVATE:
        taken, _by_type = TenantGrant.objects.filter(content_object=row).delete()
    audit.record(
        "models_registry.model.visibility_changed",
        actor=actor,
        target=row,
        before={"visibility": before},
        after={"visibility": visibility, "grants_taken": taken},
    )
    announce("registry", object_id=row.pk)  # to all: those who could see it until now must hear it too
    return row


def retire(*, model: Model, actor: Actor, reason: str = "") -> Model:
    """Retire every version: no name leads to the model any more, its deployments stop. Final, idempotent.

    Raises NotAllowed, NotFound.
    """
    with transaction.atomic():
        row = _manageable(model, actor)
        for version in selectors.versions(model=row):
            versions.retire(version=version, actor=actor, reason=reason)
        return row


def _manageable(model: Model, actor: Actor) -> Model:
    # Before the lock: PostgreSQL hides rows that may be read but not written from who wants to lock them.
    policies.require(selectors.permissions_on(model=model, actor=actor), policies.MANAGE)
    require_owned(model)
    return locked(model)


def _describe(model: Model, changes: Mapping[str, Any]) -> None:
    unknown = set(changes) - set(_DESCRIPTION)
    if unknown:
        raise InvalidInput(_("This cannot be changed."), field=min(unknown))
    for name, value in changes.items():
        setattr(model, name, _tags(value) if name == "tags" else value)


def _tags(value: Sequence[str]) -> list[str]:
    tags = list(dict.fromkeys(" ".join(str(tag).split()) for tag in value))
    if len(tags) > MAX_TAGS or not all(tag and tag.isprintable() for tag in tags):
        raise InvalidInput(_("At most %(count)d tags, each with a name.") % {"count": MAX_TAGS}, field="tags")
    return tags
