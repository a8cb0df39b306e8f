"""Rows that belong to a tenant, or to the platform when `tenant` is none.

Some are seen by other tenants too.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import Identified, Timestamped
from core.scoping import ScopeError, current_scope


class OwnedOrPlatform(Identified, Timestamped):
    """A row of one tenant, or of the platform.

    Written by its owner alone; who else sees it, the policies say.
    """

    tenant_scope: ClassVar[str] = "shared"

    tenant = models.ForeignKey(
        "tenants.Tenant",
        verbose_name=_("tenant"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text=_("Empty: the platform itself."),
    )

    class Meta:
        abstract = True
        base_manager_name = "unscoped"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; raises ScopeError for a row that the scope in force does not own."""
        scope = current_scope()
        if not scope.platform and (scope.tenant_id is None or self.tenant_id != scope.tenant_id):
            raise ScopeError(f"{type(self).__name__} of another owner cannot be saved in this scope")
        super().save(*args, **kwargs)
