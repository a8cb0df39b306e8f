"""Answers that are kept so that a repeated POST does nothing twice."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import Identified
from core.scoping import SharedManager


class IdempotencyRecord(Identified):
    """The answer to one POST that carried an `Idempotency-Key`, kept for a day.

    Written in the transaction of the change itself: either both are there or neither. `tenant` is none for
    what operators do to the platform as a whole; such rows are seen through the platform door only. The
    body is encrypted, since it may hold a secret that is shown once.
    """

    id_prefix = "idm"
    tenant_scope: ClassVar[str] = "shared"

    tenant = models.ForeignKey(
        "tenants.Tenant",
        verbose_name=_("tenant"),
        on_delete=models.CASCADE,
        null=True,
        related_name="+",
        db_index=False,
    )
    # HMAC of tenant, actor and the client's key: one tenant's key says nothing to another, nor to a reader.
    key_digest = models.CharField(max_length=64)
    # HMAC of method, path and body: the same key with another request is a mistake.
    request_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    location = models.CharField(max_length=500, blank=True)
    body = models.TextField()  # core.encryption, purpose "idempotency"
    expires_at = models.DateTimeField()

    objects = SharedManager()
    unscoped = models.Manager["IdempotencyRecord"]()

    class Meta:
        base_manager_name = "unscoped"
        constraints = [
            # Two equal requests at once: the second one fails rather than doing the work again.
            models.UniqueConstraint(fields=["key_digest"], name="api_idempotency_once"),
        ]
        indexes = [
            # The daily clean-up; and the cascade of a tenant's removal.
            models.Index(fields=["expires_at"], name="api_idempotency_expiry"),
            models.Index(fields=["tenant"], name="api_idempotency_tenant"),
        ]

    def __str__(self) -> str:
        return self.public_id
