"""The audit trail's one table."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.clock import now
from core.models import Identified
from core.scoping import SharedManager


class AuditEvent(Identified):
    """One thing that somebody did. Written in the transaction of the change itself, never changed afterwards.

    `tenant` is none for what concerns the platform as a whole; such rows are seen through the platform door
    only. The actor and the target are kept as they were then, in words, and do not point to rows that may
    go away.
    """

    id_prefix = "aud"
    tenant_scope: ClassVar[str] = "shared"

    # A tenant with a trail cannot be deleted: the trail would lose its owner.
    tenant = models.ForeignKey(
        "tenants.Tenant",
        verbose_name=_("tenant"),
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    occurred_at = models.DateTimeField(_("time"), default=now)
    action = models.CharField(_("action"), max_length=100)  # app.noun.verb, e.g. access.key.revoked
    actor_kind = models.CharField(_("kind of actor"), max_length=16)
    actor_id = models.UUIDField(_("actor's id"), null=True)
    actor_label = models.CharField(_("actor"), max_length=254)
    actor_role = models.CharField(_("role"), max_length=32, blank=True)
    address = models.CharField(_("network address"), max_length=64, blank=True)
    target_type = models.CharField(_("kind of object"), max_length=100, blank=True)  # app.Model
    target_id = models.CharField(_("object's id"), max_length=100, blank=True)  # public form
    target_label = models.CharField(_("object"), max_length=254, blank=True)
    reason = models.CharField(_("reason"), max_length=1000, blank=True)
    before = models.JSONField(_("before"), null=True)
    after = models.JSONField(_("after"), null=True)
    request_id = models.CharField(_("request id"), max_length=100, blank=True)

    objects = SharedManager()
    unscoped = models.Manager["AuditEvent"]()

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        ordering = ["-id"]  # UUIDv7: the order of time
        base_manager_name = "unscoped"
        indexes = [
            # A tenant's trail, newest first; and the platform's own, where tenant is null.
            models.Index(fields=["tenant", "-id"], name="audit_event_by_tenant"),
            # What happened to one object.
            models.Index(fields=["tenant", "target_id", "-id"], name="audit_event_by_target"),
        ]

    def __str__(self) -> str:
        return f"{self.occurred_at:%Y-%m-%d %H:%M:%S} {self.actor_label} {self.action}"
