"""Questions about tenants and members, as chainable methods, and the scope of the tenant table itself."""

from __future__ import annotations

from typing import Any

from django.db import models

from core.scoping import InScope, ScopeError, current_scope


class AnyScope(InScope):
    """TRUE inside a tenant's, a person's or the platform's scope; raises ScopeError outside one.

    Which tenants are then seen is PostgreSQL's decision: the active one, those that the person belongs to,
    or all.
    """

    def as_sql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, tuple[Any, ...]]:  # type: ignore[override]
        """Compile to TRUE, or raise."""
        scope = current_scope()
        if not (scope.platform or scope.tenant_id or scope.user_id):
            raise ScopeError("no scope is set: enter tenant_scope(), user_scope() or platform_scope() first")
        return "TRUE", ()


class TenantQuerySet(models.QuerySet[Any]):
    """Questions about tenants."""

    def active(self) -> TenantQuerySet:
        """Tenants whose traffic is served."""
        return self.filter(status="active")


class TenantRegister(models.Manager[Any]):
    """Tenants that the scope in force may see; an error with none in force."""

    def get_queryset(self) -> TenantQuerySet:
        """All tenants in scope."""
        return TenantQuerySet(self.model, using=self._db).filter(AnyScope("pk"))
