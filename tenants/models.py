"""Tenant and Membership: who is behind which wall, and in what role."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MinLengthValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import Identified, TenantOwned, Timestamped
from tenants.querysets import TenantRegister

SLUG_MIN_LENGTH = 3
SLUG_MAX_LENGTH = 40
SLUG_PATTERN = r"^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,39}$"

slug_validators = (
    MinLengthValidator(SLUG_MIN_LENGTH),
    RegexValidator(
        # Python's `$` also matches before a final line feed.
        SLUG_PATTERN.replace("$", r"\Z"),
        _("Use lower-case letters, digits and single hyphens. Begin with a letter, end without a hyphen."),
        code="invalid_slug",
    ),
)


class TenantStatus(models.TextChoices):
    """Whether a tenant's traffic is served."""

    ACTIVE = "active", _("Active")
    SUSPENDED = "suspended", _("Suspended")
    CLOSING = "closing", _("Closing")


class Role(models.TextChoices):
    """What a member may do; access.policies holds the table."""

    OWNER = "owner", _("Owner")
    ADMIN = "admin", _("Admin")
    DEVELOPER = "developer", _("Developer")
    BILLING = "billing", _("Billing")
    VIEWER = "viewer", _("Viewer")


class Tenant(Identified, Timestamped):
    """One customer of the platform, with walls around everything that it owns.

    Seen by itself (`app.tenant_id`), by its members (`app.user_id`) and through the platform door; made and
    removed through the platform door alone.
    """

    id_prefix = "ten"
    tenant_scope: ClassVar[str] = "shared"

    slug = models.CharField(
        _("short name"),
        max_length=SLUG_MAX_LENGTH,
        unique=True,
        validators=slug_validators,
        help_text=_("Part of the tenant's own path, /t/<short name>/v1. It never changes."),
        error_messages={"unique": _("Another tenant has this short name already.")},
    )
    name = models.CharField(_("name"), max_length=100)
    status = models.CharField(
        _("status"), max_length=16, choices=TenantStatus.choices, default=TenantStatus.ACTIVE
    )
    # Object permissions granted to the tenant as a whole hang on this group. People are never put into it: a
    # person's grants must not follow them from one tenant into another.
    group = models.OneToOneField(
        Group, verbose_name=_("group"), on_delete=models.PROTECT, related_name="tenant", editable=False
    )

    objects = TenantRegister()
    unscoped = models.Manager["Tenant"]()

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        ordering = ["slug"]
        base_manager_name = "unscoped"
        constraints = [
            # A slug is part of paths and of names that people type: no form of it may be ambiguous.
            models.CheckConstraint(
                condition=models.Q(slug__regex=SLUG_PATTERN),
                name="tenants_tenant_slug_form",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=TenantStatus.values), name="tenants_tenant_status_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        """True while traffic is served and changes are allowed."""
        return self.status == TenantStatus.ACTIVE


class Membership(TenantOwned, Timestamped):
    """One person's place in one tenant. Seen inside the tenant, and by the person before any tenant is
    set."""

    id_prefix = "mem"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.CASCADE, related_name="+"
    )
    role = models.CharField(_("role"), max_length=16, choices=Role.choices)

    class Meta(TenantOwned.Meta):
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [
            # One role per person and tenant; also serves "who is in this tenant".
            models.UniqueConstraint(
                fields=["tenant", "user"],
                name="tenants_membership_once",
                violation_error_message=_("This person is a member already."),
            ),
            models.CheckConstraint(
                condition=models.Q(role__in=Role.values), name="tenants_membership_role_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} ({self.role})"
