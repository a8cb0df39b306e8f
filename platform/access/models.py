"""API keys. A key speaks for its tenant; the secret itself is never stored."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import TenantOwned, Timestamped


class Scope(models.TextChoices):
    """What a key opens."""

    INVOKE = "invoke", _("Call models")
    READ = "read", _("Read through the management API")
    MANAGE = "manage", _("Change things through the management API")


class KeyState(models.TextChoices):
    """How a key stands; worked out, not stored."""

    ACTIVE = "active", _("Active")
    EXPIRED = "expired", _("Expired")
    REVOKED = "revoked", _("Revoked")


class APIKey(TenantOwned, Timestamped):
    """A program's right to act for one tenant.

    Found by the keyed digest of the whole secret, never by a part of it (CVE-2026-35030): before any tenant
    is set, PostgreSQL shows the one row whose digest is known (`core.scoping.key_scope`). `prefix` is for
    people, to tell keys apart. Empty lists of models and networks mean "all that the tenant may use" and
    "from anywhere".
    """

    id_prefix = "key"

    name = models.CharField(_("name"), max_length=100)
    prefix = models.CharField(_("prefix"), max_length=12, editable=False)
    # The one lookup of the hot path, tenant unknown: global and unique.
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=16, choices=Scope.choices), verbose_name=_("scopes"))
    allowed_models = ArrayField(
        models.CharField(max_length=200), verbose_name=_("allowed models"), default=list, blank=True
    )
    allowed_networks = ArrayField(
        models.CharField(max_length=64), verbose_name=_("allowed networks"), default=list, blank=True
    )
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    # Up to half a minute late: web processes collect uses in Valkey (access.services.usage).
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    rotated_to = models.ForeignKey(
        "self",
        verbose_name=_("rotated to"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(scopes__contained_by=Scope.values), name="access_apikey_scopes_known"
            ),
        ]
        indexes = [
            # A tenant's keys, newest first.
            models.Index(fields=["tenant", "-id"], name="access_apikey_by_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    def state(self, at: datetime) -> KeyState:
        """How the key stands at `at`; revocation outranks expiry."""
        if self.revoked_at is not None and self.revoked_at <= at:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= at:
            return KeyState.EXPIRED
        return KeyState.ACTIVE
