"""Questions about the registry, as chainable methods. Which rows are seen at all is the walls' business."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import models

# A version in one of these serves requests: `deprecated` still does, so that clients have time to move.
SERVING_STATES = ("online", "deprecated")


class ModelQuerySet(models.QuerySet[Any]):
    """Questions about models."""

    def owned_by(self, tenant_id: UUID | None) -> ModelQuerySet:
        """Those of one tenant; of the platform for none."""
        return self.filter(tenant_id=tenant_id)

    def named(self, name: str) -> ModelQuerySet:
        """Those of one name; several owners may use the same."""
        return self.filter(name=name)


class ModelVersionQuerySet(models.QuerySet[Any]):
    """Questions about versions."""

    def serving(self) -> ModelVersionQuerySet:
        """Versions whose deployments take requests."""
        return self.filter(state__in=SERVING_STATES)

    def newest_first(self) -> ModelVersionQuerySet:
        """By number, the highest first."""
        return self.order_by("-number")


class AliasQuerySet(models.QuerySet[Any]):
    """Questions about aliases."""

    def owned_by(self, tenant_id: UUID | None) -> AliasQuerySet:
        """Those of one tenant; the platform-wide ones for none."""
        return self.filter(tenant_id=tenant_id)


class DeploymentQuerySet(models.QuerySet[Any]):
    """Questions about deployments."""

    def serving(self) -> DeploymentQuerySet:
        """Deployments that are to take requests: running, of a version that serves."""
        return self.filter(running=True, version__state__in=SERVING_STATES)

    def owned_by(self, tenant_id: UUID | None) -> DeploymentQuerySet:
        """Those dedicated to one tenant; the shared ones for none."""
        return self.filter(tenant_id=tenant_id)

    def without_secrets(self) -> DeploymentQuerySet:
        """Without the credential, which stays in the database until somebody asks for that very field."""
        return self.defer("remote_credential")
