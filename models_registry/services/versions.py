"""Versions: registering verified files as one, and moving it through its states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from audit import services as audit
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from core.scoping import current_scope
from models_registry import artifacts, policies, selectors
from models_registry.errors import TransitionRefused
from models_registry.models import TRANSITIONS, Deployment, Model, ModelVersion, Source, VersionState
from models_registry.services.changes import announce_model, check_fields, locked, require_owned
from tenants.models import Tenant

MAX_CONTEXT_LENGTH = 16_777_216
# States in which a version may come to serve: its files must have been verified before.
_VERIFIED_STATES = frozenset({VersionState.STAGING, VersionState.ONLINE, VersionState.DEPRECATED})
# The way from each state to the last one.
_WAY_OUT = {VersionState.ONLINE: (VersionState.DEPRECATED, VersionState.RETIRED)}


def register(
    *,
    model: Model,
    actor: Actor,
    path: str | Path | None = None,
    source: str = Source.FOLDER,
    label: str = "",
    context_length: int | None = None,
    expected: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """A further version of a model, verified and in staging. Arguments and errors as `models.register`."""
    _require_manage(model, actor)
    owner = model.tenant
    content = examine(
        path=path, source=source, tenant=owner, expected=expected, context_length=context_length
    )
    with transaction.atomic():
        return insert(model=model, actor=actor, content=content, label=label)


def examine(
    *,
    path: str | Path | None,
    source: str,
    tenant: Tenant | None,
    expected: Mapping[str, Any] | None,
    context_length: int | None,
) -> dict[str, Any]:
    """The fields of a version that follow from its files; reads every byte of them, so not inside a transaction
    of one's own where that can be helped. Raises ArtifactRefused, InvalidInput.

    SECURITY: inside a tenant's scope only that tenant's own folders count, whatever `path` says.
    """
    if context_length is not None and not 1 <= context_length <= MAX_CONTEXT_LENGTH:
        raise InvalidInput(
            _("The context length lies between 1 and %(maximum)d tokens.") % {"maximum": MAX_CONTEXT_LENGTH},
            field="context_length",
        )
    if source != Source.FOLDER:
        if source not in Source.values or path is not None:
            raise InvalidInput(_("Give either a folder or a source without files."), field="source")
        return {"source": source, "context_length": context_length}
    if path is None:
        raise InvalidInput(_("Give the folder that holds the model."), field="path")
    roots = None if current_scope().platform else artifacts.tenant_roots(tenant.slug) if tenant else []
    found = artifacts.verify(path, roots=roots, expected=expected)
    lengths = [length for length in (context_length, found.context_length) if length]
    return {
        "source": Source.FOLDER,
        "artifact_path": str(found.path),
        "manifest": found.manifest,
        "digest": found.digest,
        "architecture": found.architecture,
        "context_length": min(lengths, default=None),
        "parameters": found.parameters,
        "size_bytes": found.size_bytes,
    }


def insert(*, model: Model, actor: Actor, content: Mapping[str, Any], label: str) -> ModelVersion:
    """Write a version with what `examine` found. Inside the caller's transaction."""
    owner = locked(model)
    require_owned(owner)
    highest = ModelVersion.objects.filter(model=owner).aggregate(highest=Max("number"))["highest"] or 0
    version = ModelVersion(
        tenant_id=owner.tenant_id,
        model=owner,
        number=highest + 1,
        label=label,
        state=VersionState.STAGING,
        **content,
    )
    check_fields(version, "label", "artifact_path")
    version.save(force_insert=True)
    audit.record(
        "models_registry.version.registered",
        actor=actor,
        target=version,
        after={"number": version.number, "source": version.source, "digest": version.digest},
    )
    announce_model(owner)
    return version


@transaction.atomic
def set_state(*, version: ModelVersion, state: str, actor: Actor, reason: str = "") -> ModelVersion:
    """Move a version to another state, as models.TRANSITIONS allows. Idempotent.

    Out of service (neither online nor deprecated) its deployments take no requests; retired, they stop for
    good. Raises NotAllowed, NotFound, TransitionRefused, Conflict for files that were never verified.
    """
    _require_manage(version.model, actor)
    row = locked(version, "model")
    before, after = VersionState(row.state), _state(state)
    if before == after:
        return row
    if after not in TRANSITIONS[before]:
        raise TransitionRefused(
            _("A version that is %(before)s cannot become %(after)s. It can become: %(possible)s.")
            % {
                "before": before.label,
                "after": after.label,
                "possible": ", ".join(str(item.label) for item in VersionState if item in TRANSITIONS[before])
                or _("nothing else"),
            },
            field="state",
        )
    if after in _VERIFIED_STATES and row.source == Source.FOLDER and not row.digest:
        raise Conflict(
            _("The version's files have not been verified yet."), code="not_verified", field="state"
        )
    row.state = after
    row.save(update_fields=["state", "updated_at"])
    audit.record(
        "models_registry.version.state_changed",
        actor=actor,
        target=row,
        reason=reason,
        before={"state": before.value},
        after={"state": after.value},
    )
    if after == VersionState.RETIRED:
        Deployment.objects.filter(version=row, running=True, tenant_id=row.tenant_id).update(running=False)
    announce_model(row.model)
    return row


@transaction.atomic
def retire(*, version: ModelVersion, actor: Actor, reason: str = "") -> ModelVersion:
    """Take a version out of service for good, over a deprecation where it is online. Idempotent."""
    _require_manage(version.model, actor)
    row = locked(version)
    for state in _WAY_OUT.get(VersionState(row.state), (VersionState.RETIRED,)):
        row = set_state(version=row, state=state, actor=actor, reason=reason)
    return row


def _require_manage(model: Model, actor: Actor) -> None:
    policies.require(selectors.permissions_on(model=model, actor=actor), policies.MANAGE)
    require_owned(model)


def _state(text: str) -> VersionState:
    if text not in VersionState.values:
        raise InvalidInput(
            _("“%(state)s” is not a state. There are: %(known)s.")
            % {"state": text[:50], "known": ", ".join(VersionState.values)},
            field="state",
        )
    return VersionState(text)
