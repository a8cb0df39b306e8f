"""Abstract models: time-ordered ids with a public form, tenant ownership, and the duty to declare a scope."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.signals import class_prepared
from django.utils.translation import gettext_lazy

from core.ids import new_id, public_id
from core.scoping import ScopeError, TenantManager, current_scope

SCOPES = ("tenant", "shared", "global")


class Identified(models.Model):
    """A row with a UUIDv7 key (RFC 9562), shown outside as `<prefix>_<26 characters>`."""

    id_prefix: ClassVar[str] = "obj"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)

    class Meta:
        abstract = True

    @property
    def public_id(self) -> str:
        """The id that people and programs see; the bare UUID stays inside."""
        return public_id(self.id_prefix, self.id)


class TenantOwned(Identified):
    """A row that belongs to exactly one tenant: scoped in the ORM, and by row-level security in PostgreSQL.

    Subclasses add `EnableRowLevelSecurity` to their migration; `core.checks` refuses a table without it.
    """

    tenant_scope: ClassVar[str] = "tenant"

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.CASCADE, related_name="+")

    objects = TenantManager()
    # Allowed in listed files only: tests/architecture/test_scope.py.
    unscoped = models.Manager()  # noqa: DJ012  (a manager, which the rule takes for a field)

    class Meta:
        abstract = True
        base_manager_name = "unscoped"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; raises ScopeError if the row, or a row that it points to, belongs to another tenant.

        Costs one query for each foreign key to a walled table that is saved.
        """
        refuse_foreign_rows([self], only=kwargs.get("update_fields"))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete; raises ScopeError if the row belongs to another tenant."""
        refuse_foreign_rows([self], only=())
        return super().delete(*args, **kwargs)


# Set behind the definition: as an argument, the name would become part of every table's migrations.
TenantOwned._meta.get_field("tenant").verbose_name = gettext_lazy("tenant")


def refuse_foreign_rows(rows: Sequence[TenantOwned], *, only: Iterable[str] | None = None) -> None:
    """Raise ScopeError if a row belongs to another tenant than the scope's, or points to a row that does.

    `only` names the fields whose targets are looked at (default: all). Targets of shared models must be in
    sight.

    SECURITY: foreign keys are checked by PostgreSQL past row-level security, so the guessed id of another
    tenant's row would pass there.
    """
    scope = current_scope()
    if not scope.platform and any(row.tenant_id != scope.tenant_id for row in rows):
        raise ScopeError("a row of another tenant than the active one cannot be written in this scope")
    names = None if only is None else frozenset(only)
    model = type(rows[0]) if rows else None
    for field in model._meta.concrete_fields if model else ():
        if not isinstance(field, models.ForeignKey) or field.name == "tenant":
            continue
        if names is not None and names.isdisjoint((field.name, field.attname)):
            continue
        _refuse_foreign_targets(rows, field)


def _refuse_foreign_targets(rows: Sequence[TenantOwned], field: models.ForeignKey[Any, Any]) -> None:
    target: Any = field.remote_field.model
    walls = getattr(target, "tenant_scope", "global")
    keys = {key for row in rows if (key := getattr(row, field.attname)) is not None}
    if walls == "global" or not keys:
        return
    in_sight = target._base_manager.filter(pk__in=keys)
    if walls == "shared":
        if in_sight.count() == len(keys):
            return
    else:
        owners = dict(in_sight.values_list("pk", "tenant_id"))
        pairs = ((getattr(row, field.attname), row.tenant_id) for row in rows)
        if all(key is None or owners.get(key) == tenant_id for key, tenant_id in pairs):
            return
    raise ScopeError(f"{type(rows[0]).__name__}.{field.name} names a row that is not in this tenant")


def refuse_foreign_values(rows: models.QuerySet[Any], values: Mapping[str, Any]) -> None:
    """Raise ScopeError if `rows.update(**values)` would let a row point to one of another tenant.

    An expression in the place of a key to a walled table is refused: nobody knows where it would point.
    """
    for name, value in values.items():
        field = rows.model._meta.get_field(name)
        if not isinstance(field, models.ForeignKey) or field.name == "tenant" or value is None:
            continue
        target: Any = field.remote_field.model
        walls = getattr(target, "tenant_scope", "global")
        if walls == "global":
            continue
        complaint = ScopeError(
            f"{rows.model.__name__}.{field.name} would name a row that is not in this tenant"
        )
        if hasattr(value, "resolve_expression"):
            raise complaint
        key = getattr(value, field.target_field.attname, value)
        in_sight = target._base_manager.filter(**{field.target_field.attname: key})
        if walls == "shared":
            if not in_sight.exists():
                raise complaint
            continue
        owner = in_sight.values_list("tenant_id", flat=True).first()
        scope = current_scope()
        foreign = rows.exclude(tenant_id=owner).exists() if scope.platform else owner != scope.tenant_id
        if owner is None or foreign:
            raise complaint


class Timestamped(models.Model):
    """When the row was made and last changed, UTC."""

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


def _require_declared_scope(sender: type[models.Model], **_: Any) -> None:
    """Refuse, at import, a model of ours that does not say whose rows it holds."""
    if sender._meta.abstract or sender._meta.proxy or sender._meta.auto_created:
        return
    from core.checks import is_ours

    if is_ours(sender) and getattr(sender, "tenant_scope", None) not in SCOPES:
        raise ImproperlyConfigured(f"{sender.__name__} must declare tenant_scope, one of {', '.join(SCOPES)}")


class_prepared.connect(_require_declared_scope)
