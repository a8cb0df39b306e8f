"""Making tenants, renaming them, and stopping and resuming their traffic."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from access import policies
from accounts.models import User
from audit import services as audit
from core import clock
from core.actors import Actor
from core.errors import InvalidInput, NotFound
from core.events import announce
from core.ids import new_id
from tenants.errors import SlugTaken, WrongStatus
from tenants.models import Membership, Role, Tenant, TenantStatus, slug_validators

# Words that paths and people would read as something else than a tenant.
RESERVED_SLUGS = frozenset(
    {
        "admin",
        "api",
        "atrium",
        "console",
        "healthz",
        "i18n",
        "livez",
        "metrics",
        "platform",
        "public",
        "readyz",
    }
    | {"root", "shared", "startupz", "static", "support", "system", "www"}
)


@transaction.atomic
def create(*, actor: Actor, slug: str, name: str, owner: User | None = None) -> Tenant:
    """A new, active tenant, with its first owner when one is given. Needs the platform door.

    Raises NotAllowed, InvalidInput, SlugTaken.
    """
    policies.require(actor, "tenants.tenant.create")
    slug = _clean_slug(slug)
    name = _clean_name(name)
    if Tenant.objects.filter(slug=slug).exists():
        raise SlugTaken(_("Another tenant has this short name already."), field="slug")
    tenant_id = new_id()
    group = Group.objects.create(name=f"tenant:{tenant_id}")
    tenant = Tenant(id=tenant_id, slug=slug, name=name, group=group)
    tenant.save(force_insert=True)
    audit.record(
        "tenants.tenant.created",
        actor=actor,
        target=tenant,
        tenant_id=tenant.pk,
        after={"slug": slug, "name": name},
    )
    if owner is not None:
        membership = Membership(tenant=tenant, user=owner, role=Role.OWNER)
        membership.save(force_insert=True)
        audit.record(
            "tenants.member.added",
            actor=actor,
            target=membership,
            after={"email": owner.email, "role": Role.OWNER.value},
        )
    announce("tenant", tenant_id=tenant.pk)
    return tenant


@transaction.atomic
def rename(*, tenant: Tenant, actor: Actor, name: str) -> Tenant:
    """Change the name that people read; the short name stays. Raises NotAllowed, InvalidInput, NotFound."""
    policies.require(actor, "tenants.tenant.rename")
    name = _clean_name(name)
    locked = lock(tenant)
    before = locked.name
    if name == before:
        return locked
    locked.name = name
    locked.save(update_fields=["name", "updated_at"])
    audit.record(
        "tenants.tenant.renamed",
        actor=actor,
        target=locked,
        tenant_id=locked.pk,
        before={"name": before},
        after={"name": name},
    )
    announce("tenant", tenant_id=locked.pk)
    return locked


@transaction.atomic
def suspend(*, tenant: Tenant, actor: Actor, reason: str) -> Tenant:
    """Stop all traffic of the tenant, running streams included, within a second in every process. Idempotent.

    Its people can still look, and change nothing. Raises NotAllowed, InvalidInput without a reason,
    WrongStatus.
    """
    policies.require(actor, "tenants.tenant.suspend")
    return _move(tenant, actor, TenantStatus.SUSPENDED, allowed_from=(TenantStatus.ACTIVE,), reason=reason)


@transaction.atomic
def resume(*, tenant: Tenant, actor: Actor, reason: str) -> Tenant:
    """Serve a suspended tenant again. Idempotent. Raises NotAllowed, InvalidInput without a reason,
    WrongStatus."""
    policies.require(actor, "tenants.tenant.resume")
    return _move(tenant, actor, TenantStatus.ACTIVE, allowed_from=(TenantStatus.SUSPENDED,), reason=reason)


@transaction.atomic
def close(*, tenant: Tenant, actor: Actor, reason: str) -> Tenant:
    """Begin the end of a tenant: traffic stops and does not come back; what it owns stays for now.
    Idempotent.

    Raises NotAllowed, InvalidInput without a reason.
    """
    policies.require(actor, "tenants.tenant.close")
    allowed_from = (TenantStatus.ACTIVE, TenantStatus.SUSPENDED)
    return _move(tenant, actor, TenantStatus.CLOSING, allowed_from=allowed_from, reason=reason)


def lock(tenant: Tenant) -> Tenant:
    """The tenant's row, locked to the end of the transaction. Raises NotFound for one outside the scope."""
    locked = Tenant.objects.select_for_update().filter(pk=tenant.pk).first()
    if locked is None:
        raise NotFound(_("There is no such tenant."))
    return locked


_PAST = {
    TenantStatus.ACTIVE: "resumed",
    TenantStatus.SUSPENDED: "suspended",
    TenantStatus.CLOSING: "closed",
}


def _move(
    tenant: Tenant, actor: Actor, status: TenantStatus, *, allowed_from: tuple[TenantStatus, ...], reason: str
) -> Tenant:
    if not reason.strip():
        raise InvalidInput(_("Give a reason; it is kept in the audit trail."), field="reason")
    locked = lock(tenant)
    before = locked.status
    if before == status:
        return locked
    if before not in allowed_from:
        raise WrongStatus(
            _("This cannot be done while the tenant is %(status)s.") % {"status": locked.get_status_display()}
        )
    locked.status = status
    locked.closing_at = clock.now() if status == TenantStatus.CLOSING else None
    locked.save(update_fields=["status", "closing_at", "updated_at"])
    audit.record(
        f"tenants.tenant.{_PAST[status]}",
        actor=actor,
        target=locked,
        tenant_id=locked.pk,
        reason=reason.strip(),
        before={"status": before},
        after={"status": status.value},
    )
    announce("tenant", tenant_id=locked.pk)
    return locked


def _clean_slug(slug: str) -> str:
    cleaned = slug.strip()
    for validator in slug_validators:
        try:
            validator(cleaned)
        except ValidationError as error:
            raise InvalidInput(" ".join(error.messages), field="slug") from None
    if cleaned in RESERVED_SLUGS:
        raise InvalidInput(_("“%(slug)s” is reserved. Choose another.") % {"slug": cleaned}, field="slug")
    return cleaned


def _clean_name(name: str) -> str:
    cleaned = " ".join(name.split())
    if not cleaned:
        raise InvalidInput(_("A tenant needs a name."), field="name")
    if len(cleaned) > 100 or not cleaned.isprintable():
        raise InvalidInput(
            _("A name has at most %(count)d printable characters.") % {"count": 100}, field="name"
        )
    return cleaned
