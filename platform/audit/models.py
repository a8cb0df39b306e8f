"""The audit trail: events, the chain that seals them, and the chain's head."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models.functions import Now
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


class AuditSeal(Identified):
    """One link of a tenant's chain of events, or (no tenant) of the platform's (docs/adr/0020).

    Written by the sealer alone, never changed afterwards. Holds no text: after an erasure the links stay and
    still verify. `event_id` is no foreign key, because the event may be erased.
    """

    id_prefix = "sel"
    tenant_scope: ClassVar[str] = "shared"

    tenant = models.ForeignKey(
        "tenants.Tenant",
        verbose_name=_("tenant"),
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    sequence = models.PositiveBigIntegerField(_("number"))
    event_id = models.UUIDField(_("event"), unique=True)
    event_digest = models.CharField(_("event's digest"), max_length=64)
    hash = models.CharField(_("hash"), max_length=64)
    sealed_at = models.DateTimeField(_("sealed"))
    # Which fields of the event are in its digest (audit.links).
    form = models.PositiveSmallIntegerField(_("form"), default=1)

    objects = SharedManager()
    unscoped = models.Manager["AuditSeal"]()

    class Meta:
        verbose_name = _("audit seal")
        verbose_name_plural = _("audit seals")
        base_manager_name = "unscoped"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "sequence"], nulls_distinct=False, name="audit_seal_sequence"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.hash}"


class AuditPending(Identified):
    """An event that is not sealed yet. A trigger of PostgreSQL writes the row with the event, the sealer removes it.

    `id` is the event's. So that what commits late, behind younger events, is sealed all the same.
    """

    id_prefix = "apn"
    tenant_scope: ClassVar[str] = "shared"

    tenant = models.ForeignKey(
        "tenants.Tenant",
        verbose_name=_("tenant"),
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    noted_at = models.DateTimeField(_("written"), db_default=Now())

    objects = SharedManager()
    unscoped = models.Manager["AuditPending"]()

    class Meta:
        verbose_name = _("event that waits for its seal")
        verbose_name_plural = _("events that wait for their seals")
        base_manager_name = "unscoped"
        indexes = [models.Index(fields=["tenant", "id"], name="audit_pending_by_tenant")]

    def __str__(self) -> str:
        return str(self.pk)


class AuditChain(Identified):
    """The head of one chain: its last link, and the last one that was signed into a checkpoint.

    The sealer holds this row while it seals. It proves nothing: links and checkpoints do.
    """

    id_prefix = "chn"
    tenant_scope: ClassVar[str] = "shared"

    tenant_id: UUID | None  # the key's own column, for type checkers
    tenant = models.ForeignKey(
        "tenants.Tenant",
        verbose_name=_("tenant"),
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    sequence = models.PositiveBigIntegerField(_("last number"), default=0)
    hash = models.CharField(_("last hash"), max_length=64)
    sealed_at = models.DateTimeField(_("last sealed"), null=True)
    checkpoint_sequence = models.PositiveBigIntegerField(_("last signed number"), default=0)
    checkpoint_at = models.DateTimeField(_("last signed"), null=True)
    # Events up to this link were erased, with a signed record of it.
    erased_through = models.PositiveBigIntegerField(_("erased through"), default=0)

    objects = SharedManager()
    unscoped = models.Manager["AuditChain"]()

    class Meta:
        verbose_name = _("audit chain")
        verbose_name_plural = _("audit chains")
        base_manager_name = "unscoped"
        constraints = [
            models.UniqueConstraint(fields=["tenant"], nulls_distinct=False, name="audit_chain_one_each"),
        ]
        indexes = [
            # Chains with links that no checkpoint covers yet.
            models.Index(
                fields=["checkpoint_at"],
                name="audit_chain_unsigned",
                condition=models.Q(sequence__gt=models.F("checkpoint_sequence")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id or 'platform'} {self.sequence}"
