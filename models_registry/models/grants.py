"""Object permissions on models: guardian's own rows, with the tenants that they concern written beside them.

guardian finds these tables by their foreign key to Model, so `assign_perm`, `get_objects_for_user` and
`user.has_perm(permission, model)` work on them. The owner's and the grantee's tenant stand in the row
itself because the wall around Model asks these tables who may see what, and must not be asked in return.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import Group, Permission
from django.db import models
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from guardian.managers import GroupObjectPermissionManager, UserObjectPermissionManager
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from core.errors import InvalidInput
from core.models import Identified, TenantOwned, Timestamped
from core.scoping import InScope, ScopeError, SharedInScope, current_scope, current_tenant_id
from models_registry.models.catalogue import Model
from tenants.models import Membership, Tenant


class _OneByOne:
    """guardian's bulk writers go past `save()`, which is where a grant learns whose it is.

    Write one by one.
    """

    def bulk_assign_perm(
        self, perm: Any, who: Any, queryset: Any, ignore_conflicts: bool = False
    ) -> list[Any]:
        """Give one permission on many models."""
        return [self.assign_perm(perm, who, item) for item in queryset]  # type: ignore[attr-defined]

    def assign_perm_to_many(self, perm: Any, who: Any, obj: Any, ignore_conflicts: bool = False) -> list[Any]:
        """Give one permission on one model to many."""
        return [self.assign_perm(perm, item, obj) for item in who]  # type: ignore[attr-defined]


class TenantGrants(_OneByOne, GroupObjectPermissionManager):
    """Grants to tenants that the scope in force may see: those that it got, and those that it gave."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """All grants in scope; raises ScopeError without one."""
        return super().get_queryset().filter(SharedInScope("pk"))

    def give(self, permission: str, *, tenant: Tenant, model: Model) -> TenantGrant:
        """Give `tenant` one permission on `model`. Idempotent.

        For an owner, who cannot see the other's group.
        """
        found = Permission.objects.get(
            content_type__app_label="models_registry", content_type__model="model", codename=permission
        )
        grant, _created = self.get_or_create(
            permission=found,
            group_id=tenant.group_id,
            content_object=model,
            defaults={"tenant_id": tenant.pk, "owner_id": model.tenant_id},
        )
        return grant


class MemberGrants(_OneByOne, UserObjectPermissionManager):
    """Grants to members, of the active tenant only: a person's grants do not follow them into another."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """All grants in scope; raises ScopeError without one."""
        return super().get_queryset().filter(InScope())

    def assign_perm(self, perm: Any, user_or_group: Any, obj: Any) -> Any:
        """As guardian's; raises ScopeError outside one tenant's scope, where "member" means nothing."""
        current_tenant_id()
        return super().assign_perm(perm, user_or_group, obj)


class TenantGrant(Identified, GroupObjectPermissionBase, Timestamped):
    """One permission on one model, given to a tenant as a whole (its group).

    Seen by who gave it and who got it.
    """

    id_prefix = "tgr"
    tenant_scope: ClassVar[str] = "shared"

    # Who got it, and who owns the model (none: the platform).
    tenant = models.ForeignKey(Tenant, verbose_name=_("tenant"), on_delete=models.CASCADE, related_name="+")
    owner = models.ForeignKey(
        Tenant, verbose_name=_("owner"), on_delete=models.CASCADE, null=True, related_name="+", editable=False
    )
    content_object = models.ForeignKey(
        Model, verbose_name=_("model"), on_delete=models.CASCADE, related_name="tenant_grants"
    )

    objects = TenantGrants()
    unscoped = models.Manager["TenantGrant"]()

    class Meta:
        verbose_name = _("grant to a tenant")
        verbose_name_plural = _("grants to tenants")
        base_manager_name = "unscoped"
        constraints = [
            models.UniqueConstraint(
                fields=["content_object", "group", "permission"], name="models_registry_tenantgrant_once"
            ),
        ]
        indexes = [
            # "May this tenant see this model": asked by the wall for every model that is not its own.
            models.Index(fields=["tenant", "content_object"], name="models_registry_tgr_seen"),
        ]

    def __str__(self) -> str:
        return f"{self.permission.codename} → {self.tenant_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save. Raises ScopeError when the model is not the scope's to share."""
        scope = current_scope()
        self.owner_id = self.content_object.tenant_id
        if not scope.platform and (scope.tenant_id is None or self.owner_id != scope.tenant_id):
            raise ScopeError("a model can be granted by its owner only")
        if self.tenant_id is None:
            self.tenant_id = _tenant_of(self.group)
        super().save(*args, **kwargs)


class MemberGrant(TenantOwned, UserObjectPermissionBase, Timestamped):
    """One permission on one model, given to one member inside one tenant. It ends with the membership."""

    id_prefix = "mgr"

    membership = models.ForeignKey(
        Membership, verbose_name=_("membership"), on_delete=models.CASCADE, related_name="+", editable=False
    )
    content_object = models.ForeignKey(
        Model, verbose_name=_("model"), on_delete=models.CASCADE, related_name="member_grants"
    )

    objects: ClassVar[Any] = MemberGrants()

    class Meta(TenantOwned.Meta):
        verbose_name = _("grant to a member")
        verbose_name_plural = _("grants to members")
        constraints = [
            # Also serves "what may this person do here".
            models.UniqueConstraint(
                fields=["tenant", "user", "content_object", "permission"],
                name="models_registry_membergrant_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.permission.codename} → {self.user_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save. Raises InvalidInput when the person is not a member of the tenant."""
        if self.tenant_id is None:
            self.tenant_id = current_tenant_id()
        if self.membership_id is None:
            membership = Membership.objects.filter(tenant_id=self.tenant_id, user_id=self.user_id).first()
            if membership is None:
                raise InvalidInput(_now("This person is not a member of the tenant."), field="user")
            self.membership = membership
        super().save(*args, **kwargs)


def _tenant_of(group: Group) -> Any:
    tenant_id = Tenant.objects.filter(group=group).values_list("pk", flat=True).first()
    if tenant_id is None:
        raise ScopeError("this group is no tenant's, or not one that the scope in force may see")
    return tenant_id


# Fields of the library's base classes, named behind the definition: they are no part of our migrations.
for _grant, _name, _label in (
    (TenantGrant, "permission", _("permission")),
    (MemberGrant, "permission", _("permission")),
    (MemberGrant, "user", _("user")),
):
    _grant._meta.get_field(_name).verbose_name = _label  # type: ignore[union-attr]
