"""Deployments: wishing that a version runs, changing how often, and ending it.

The reconciler does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils.translation import gettext as _

from audit import services as audit
from core.actors import Actor
from core.encryption import encrypt
from core.errors import Conflict, InvalidInput, NotAllowed
from core.events import announce
from models_registry import addresses, engine_arguments, policies, selectors
from models_registry.models import Deployment, EngineKind, ModelVersion, VersionState
from models_registry.models.deployments import (
    DEFAULT_POOL,
    ENGINES_OF_SOURCE,
    MAX_REPLICAS,
    MIN_REPLICAS,
)
from models_registry.selectors.engines import CREDENTIAL_PURPOSE
from models_registry.services.changes import check_fields, locked, require_owned
from tenants.models import Tenant
from tenants.services.tenants import lock

MAX_CREDENTIAL_LENGTH = 4_096


def create(
    *,
    version: ModelVersion,
    actor: Actor,
    tenant: Tenant | None = None,
    name: str = "",
    engine: str = EngineKind.VLLM,
    replicas: int = 1,
    engine_args: Mapping[str, Any] | None = None,
    pool: str = DEFAULT_POOL,
    remote_base_url: str = "",
    remote_model: str = "",
    credential: str = "",
) -> Deployment:
    """Let a version run: for `tenant` alone, or (none) for all who may invoke the model.

    Default name: model and number.

    `credential` (of a remote engine) is stored encrypted and never shown again. Raises NotAllowed,
    NotFound, InvalidInput, AddressRefused, EngineArgumentRefused, Conflict. Resolves the remote address:
    may take seconds.
    """
    version = selectors.version_by_public_id(public_id=version.public_id)  # NotFound for an invisible one
    policies.require(selectors.permissions_on(model=version.model, actor=actor), policies.DEPLOY)
    if engine == EngineKind.OPENAI:
        _require_remote(actor)
        remote_base_url = addresses.checked_base_url(remote_base_url)
    deployment = Deployment(
        tenant=tenant,
        version=version,
        name=name or f"{version.model.name[:90]}-v{version.number}",
        engine=_engine(engine, version),
        desired_replicas=_replicas(replicas),
        engine_args=_arguments(engine, engine_args or {}, version),
        pool=_pool(pool, actor),
        remote_base_url=remote_base_url,
        remote_model=remote_model,
        remote_credential=_encrypted(credential),
    )
    return _insert(deployment, actor)


@transaction.atomic
def scale(*, deployment: Deployment, replicas: int, actor: Actor) -> Deployment:
    """Run as many replicas. Idempotent.

    Raises NotAllowed, NotFound, InvalidInput, Conflict above the tenant's limit.
    """
    row = _writable(deployment, actor)
    before, after = row.desired_replicas, _replicas(replicas)
    if before == after:
        return row
    row.desired_replicas = after
    _refuse_too_many(row, actor)
    row.save(update_fields=["desired_replicas", "updated_at"])
    _changed("scaled", row, actor, before={"replicas": before}, after={"replicas": after})
    return row


@transaction.atomic
def start(*, deployment: Deployment, actor: Actor) -> Deployment:
    """Let a stopped deployment run again. Idempotent.

    Raises NotAllowed, NotFound, Conflict for a retired version.
    """
    row = _writable(deployment, actor)
    if row.running:
        return row
    if row.version.state == VersionState.RETIRED:
        raise Conflict(_("The version is retired; it does not run again."), code="version_retired")
    row.running = True
    _refuse_too_many(row, actor)
    row.save(update_fields=["running", "updated_at"])
    _changed("started", row, actor, before={"running": False}, after={"running": True})
    return row


@transaction.atomic
def stop(*, deployment: Deployment, actor: Actor, reason: str = "") -> Deployment:
    """Take no new requests and end the replicas; what runs may finish. Idempotent.

    Raises NotAllowed, NotFound.
    """
    row = _writable(deployment, actor)
    if not row.running:
        return row
    row.running = False
    row.save(update_fields=["running", "updated_at"])
    _changed("stopped", row, actor, before={"running": True}, after={"running": False}, reason=reason)
    return row


@transaction.atomic
def set_credential(*, deployment: Deployment, credential: str, actor: Actor) -> Deployment:
    """Replace a remote engine's credential ("" for none). Raises NotAllowed, NotFound, InvalidInput."""
    row = _writable(deployment, actor)
    _require_remote(actor)
    if row.engine != EngineKind.OPENAI:
        raise InvalidInput(_("Only a remote engine has a credential."), field="credential")
    row.remote_credential = _encrypted(credential)
    row.save(update_fields=["remote_credential", "updated_at"])
    _changed("credential_changed", row, actor, before=None, after={"present": bool(credential)})
    return row


@transaction.atomic
def remove(*, deployment: Deployment, actor: Actor) -> None:
    """End a deployment and forget it. Raises NotAllowed, NotFound, Conflict while it runs."""
    row = _writable(deployment, actor)
    if row.running:
        raise Conflict(_("Stop the deployment first."), code="still_running")
    _changed("removed", row, actor, before={"name": row.name}, after=None)
    row.delete()


@transaction.atomic
def _insert(deployment: Deployment, actor: Actor) -> Deployment:
    require_owned(deployment)
    check_fields(deployment, "name", "pool", "remote_base_url", "remote_model")
    version = locked(deployment.version) if deployment.tenant_id == deployment.version.tenant_id else None
    if (version or deployment.version).state == VersionState.RETIRED:
        raise Conflict(_("The version is retired; it does not run again."), code="version_retired")
    if Deployment.objects.filter(tenant_id=deployment.tenant_id, name=deployment.name).exists():
        raise Conflict(_("A deployment of this name exists already."), code="name_taken", field="name")
    _refuse_too_many(deployment, actor)
    deployment.save(force_insert=True)
    _changed(
        "created",
        deployment,
        actor,
        before=None,
        after={
            "name": deployment.name,
            "version": deployment.version.public_id,
            "engine": deployment.engine,
            "replicas": deployment.desired_replicas,
            "engine_args": deployment.engine_args,
            "remote_base_url": deployment.remote_base_url,
        },
    )
    return deployment


def _require_remote(actor: Actor) -> None:
    if not actor.is_operator and not settings.TENANT_REMOTE_ENGINES:
        raise NotAllowed(_("Remote engines are set up by the platform's operators."))


def _writable(deployment: Deployment, actor: Actor) -> Deployment:
    permissions = selectors.permissions_on(model=deployment.version.model, actor=actor)
    policies.require(permissions, policies.DEPLOY)
    require_owned(deployment)
    return locked(deployment, "version__model")


def _engine(engine: str, version: ModelVersion) -> str:
    possible = ENGINES_OF_SOURCE[version.source]
    if engine not in possible:
        raise InvalidInput(
            _("This version runs on: %(engines)s.") % {"engines": ", ".join(sorted(possible))}, field="engine"
        )
    return engine


def _arguments(engine: str, arguments: Mapping[str, Any], version: ModelVersion) -> dict[str, Any]:
    checked = engine_arguments.checked(engine, arguments)
    wanted, possible = checked.get("max_model_len"), version.context_length
    if possible and isinstance(wanted, int) and wanted > possible:
        raise InvalidInput(
            _("max_model_len is above the model's context length of %(length)d tokens.")
            % {"length": possible},
            field="engine_args.max_model_len",
        )
    return checked


def _replicas(replicas: int) -> int:
    if type(replicas) is not int or not MIN_REPLICAS <= replicas <= MAX_REPLICAS:
        raise InvalidInput(
            _("The number of replicas lies between %(minimum)d and %(maximum)d.")
            % {"minimum": MIN_REPLICAS, "maximum": MAX_REPLICAS},
            field="replicas",
        )
    return replicas


def _refuse_too_many(deployment: Deployment, actor: Actor) -> None:
    """SECURITY: one tenant's wishes must not take every slot of the pool."""
    if actor.is_operator or deployment.tenant_id is None:
        return
    lock(Tenant(pk=deployment.tenant_id))  # two wishes at once take turns
    others = Deployment.objects.filter(tenant_id=deployment.tenant_id, running=True).exclude(pk=deployment.pk)
    total = (others.aggregate(total=Sum("desired_replicas"))["total"] or 0) + deployment.desired_replicas
    if total > settings.TENANT_MAX_REPLICAS:
        raise Conflict(
            _("A tenant's own deployments have at most %(limit)d replicas together.")
            % {"limit": settings.TENANT_MAX_REPLICAS},
            code="too_many_replicas",
            field="replicas",
        )


def _pool(pool: str, actor: Actor) -> str:
    if pool != DEFAULT_POOL and not actor.is_operator:
        raise NotAllowed(_("Pools are chosen by the platform's operators."))
    return pool


def _encrypted(credential: str) -> str:
    if not credential:
        return ""
    if len(credential) > MAX_CREDENTIAL_LENGTH or not credential.isascii() or not credential.isprintable():
        raise InvalidInput(_("The credential is not one that a header can carry."), field="credential")
    return encrypt(CREDENTIAL_PURPOSE, credential)


def _changed(
    verb: str,
    deployment: Deployment,
    actor: Actor,
    *,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    reason: str = "",
) -> None:
    audit.record(
        f"models_registry.deployment.{verb}",
        actor=actor,
        target=deployment,
        reason=reason,
        before=before,
        after=after,
    )
    announce("registry", tenant_id=deployment.tenant_id, object_id=deployment.pk)
