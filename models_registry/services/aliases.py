"""Aliases: public names of one's own choosing that lead to versions."""

from __future__ import annotations

from django.db import transaction

from audit import services as audit
from core.actors import Actor
from core.events import announce
from models_registry import policies, selectors
from models_registry.models import Alias, ModelVersion
from models_registry.services.changes import check_fields, locked, require_owned
from tenants.models import Tenant


@transaction.atomic
def set_alias(*, name: str, version: ModelVersion, actor: Actor, tenant: Tenant | None = None) -> Alias:
    """Let `name` lead to `version`, for one tenant or (none) for all who can see the version.

    Moves an old one.

    Raises NotAllowed, InvalidInput, NotFound.
    """
    policies.require_owner(actor, "models_registry.alias.change", is_platform=tenant is None)
    target = selectors.version_by_public_id(public_id=version.public_id)  # NotFound for an invisible one
    policies.require(selectors.permissions_on(model=target.model, actor=actor), policies.VIEW)
    existing = Alias.objects.select_for_update().filter(tenant=tenant, name=name).first()
    alias = existing or Alias(tenant=tenant, name=name)
    require_owned(alias)
    before = {"version": existing.version.public_id} if existing else None
    alias.version = target
    check_fields(alias, "name")
    alias.save()
    audit.record(
        "models_registry.alias.set",
        actor=actor,
        target=alias,
        before=before,
        after={"name": name, "version": target.public_id},
    )
    announce("registry", tenant_id=alias.tenant_id, object_id=alias.pk)
    return alias


@transaction.atomic
def remove(*, alias: Alias, actor: Actor) -> None:
    """Take a name away; it means again what it meant without the alias. Raises NotAllowed, NotFound."""
    policies.require_owner(actor, "models_registry.alias.change", is_platform=alias.tenant_id is None)
    require_owned(alias)
    row = locked(alias)
    audit.record("models_registry.alias.removed", actor=actor, target=row, before={"name": row.name})
    tenant_id, alias_id = row.tenant_id, row.pk
    row.delete()
    announce("registry", tenant_id=tenant_id, object_id=alias_id)
