"""Reads of tenants and members. What is absent and what is another tenant's raise the same NotFound (L17)."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.models import User
from core import governance
from core.errors import NotFound
from core.ids import parse_public_id
from core.scoping import user_scope
from tenants.models import Erasure, Limit, Membership, Plan, RetentionRun, Tenant, TenantExport


def memberships_of(user: User) -> list[Membership]:
    """A person's memberships with their tenants, by short name. Needs no scope: one transaction, one
    query."""
    with user_scope(user.pk):
        found = Membership.unscoped.filter(user_id=user.pk).select_related("tenant").order_by("tenant__slug")
        return list(found)


def tenants() -> QuerySet[Tenant]:
    """The tenants in scope: the active one; a person's own; behind the platform door all."""
    return Tenant.objects.all()


def tenant_by_id(*, tenant_id: UUID) -> Tenant:
    """One tenant in scope. Raises NotFound."""
    return _found(Tenant.objects.filter(pk=tenant_id).first())


def tenant_by_public_id(*, public_id: str) -> Tenant:
    """One tenant in scope by its `ten_…` id. Raises NotFound."""
    try:
        tenant_id = parse_public_id(public_id, Tenant.id_prefix)
    except ValueError:
        return _found(None)
    return tenant_by_id(tenant_id=tenant_id)


def tenant_by_slug(*, slug: str) -> Tenant:
    """One tenant in scope by its short name; for any tenant, behind the platform door. Raises NotFound."""
    return _found(Tenant.objects.filter(slug=slug).first())


def members() -> QuerySet[Membership]:
    """The active tenant's members with their accounts, by e-mail address."""
    return Membership.objects.select_related("user").order_by("user__email")


def membership_by_public_id(*, public_id: str) -> Membership:
    """One member of the active tenant by the `mem_…` id. Raises NotFound, for another tenant's too."""
    try:
        membership = members().filter(pk=parse_public_id(public_id, Membership.id_prefix)).first()
    except ValueError:
        membership = None
    if membership is None:
        raise NotFound(_("There is no such member."))
    return membership


def plans() -> QuerySet[Plan]:
    """Every plan, by short name; plans are no secret."""
    return Plan.objects.all()


def plan_by_public_id(*, public_id: str) -> Plan:
    """One plan by its `pln_…` id. Raises NotFound."""
    try:
        plan = Plan.objects.filter(pk=parse_public_id(public_id, Plan.id_prefix)).first()
    except ValueError:
        plan = None
    if plan is None:
        raise NotFound(_("There is no such plan."))
    return plan


def limits() -> QuerySet[Limit]:
    """The limits in scope, newest first: the active tenant's, behind the platform door everybody's."""
    return Limit.objects.select_related("key")


def limits_in_force() -> list[Limit]:
    """The active tenant's limits that count now. One query."""
    return list(Limit.objects.filter(is_enabled=True))


def _found(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFound(_("There is no such tenant."))
    return tenant


def data_classes() -> list[governance.DataClass]:
    """The catalogue of data, by name."""
    return list(governance.catalogue().values())


def classes_with_retention() -> list[str]:
    """Names of the classes that have a rule of retention."""
    return [name for name, each in governance.catalogue().items() if each.retain is not None]


def retention_runs() -> QuerySet[RetentionRun]:
    """All runs of retention, newest first. For the platform's staff: the caller asks who is asking."""
    return RetentionRun.objects.all()


def exports() -> QuerySet[TenantExport]:
    """The exports in scope, newest first."""
    return TenantExport.objects.all()


def erasures() -> QuerySet[Erasure]:
    """The erasures in scope, newest first."""
    return Erasure.objects.all()
