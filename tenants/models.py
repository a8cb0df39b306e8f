"""Tenant, Membership, Plan and Limit: who is behind which wall, in what role, and how much they may use."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MinLengthValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from access.models import APIKey
from core.models import Identified, TenantOwned, Timestamped
from tenants.querysets import TenantRegister

SLUG_MIN_LENGTH = 3
SLUG_MAX_LENGTH = 40
SLUG_PATTERN = r"^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,39}$"

MAX_WEIGHT = 10_000
MAX_BAND = 9
# The largest value of a limit: whole numbers up to here are exact in the scripts that count (IEEE 754 doubles).
MAX_LIMIT = 9_000_000_000_000_000

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
    CLOSED = "closed", _("Closed")  # everything that it owned is gone; the row stays for what the law keeps


class Role(models.TextChoices):
    """What a member may do; access.policies holds the table."""

    OWNER = "owner", _("Owner")
    ADMIN = "admin", _("Admin")
    DEVELOPER = "developer", _("Developer")
    BILLING = "billing", _("Billing")
    VIEWER = "viewer", _("Viewer")
    AUDITOR = "auditor", _("Auditor")


class Plan(Identified, Timestamped):
    """What tenants of one kind are entitled to when they share models with others. The platform's own.

    `weight` is the share of service against other tenants that wait (law L7); a lower `band` is served before a
    higher one; `queue_limit` bounds the requests that may wait per deployment (none: the platform's setting);
    `allow_priority` lets requests order themselves inside the tenant.
    """

    id_prefix = "pln"
    tenant_scope: ClassVar[str] = "global"

    slug = models.CharField(
        _("short name"),
        max_length=SLUG_MAX_LENGTH,
        unique=True,
        validators=slug_validators,
        error_messages={"unique": _("Another plan has this short name already.")},
    )
    name = models.CharField(_("name"), max_length=100)
    weight = models.DecimalField(_("weight"), max_digits=8, decimal_places=3, default=Decimal(1))
    band = models.PositiveSmallIntegerField(_("band"), default=0)
    queue_limit = models.PositiveIntegerField(_("queue limit"), null=True, blank=True)
    allow_priority = models.BooleanField(_("allow priority"), default=False)

    objects = models.Manager["Plan"]()
    unscoped = models.Manager["Plan"]()

    class Meta:
        verbose_name = _("plan")
        verbose_name_plural = _("plans")
        ordering = ["slug"]
        constraints = [
            # NaN is greater than every number to PostgreSQL, so an upper bound shuts it out.
            models.CheckConstraint(
                condition=models.Q(weight__gt=0) & models.Q(weight__lte=MAX_WEIGHT),
                name="tenants_plan_weight_positive",
            ),
            models.CheckConstraint(condition=models.Q(band__lte=MAX_BAND), name="tenants_plan_band_bounded"),
        ]

    def __str__(self) -> str:
        return self.name


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
    closing_at = models.DateTimeField(_("closing since"), null=True, blank=True)
    plan = models.ForeignKey(
        Plan, verbose_name=_("plan"), on_delete=models.PROTECT, null=True, blank=True, related_name="+"
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


class LimitKind(models.TextChoices):
    """What a limit bounds. Rates flow continuously; months are the calendar's, UTC."""

    REQUESTS_PER_SECOND = "requests_per_second", _("Requests per second")
    REQUESTS_PER_MINUTE = "requests_per_minute", _("Requests per minute")
    REQUESTS_PER_DAY = "requests_per_day", _("Requests per day")
    TOKENS_PER_MINUTE = "tokens_per_minute", _("Tokens per minute")
    TOKENS_PER_DAY = "tokens_per_day", _("Tokens per day")
    CONCURRENT_REQUESTS = "concurrent_requests", _("Concurrent requests")
    MONTHLY_CALLS = "monthly_calls", _("Calls per month")
    MONTHLY_TOKENS = "monthly_tokens", _("Tokens per month")
    MONTHLY_GPU_SECONDS = "monthly_gpu_seconds", _("GPU-seconds per month")
    MONTHLY_MONEY_NANO = "monthly_money_nano", _("Money per month, in billionths of the currency unit")


class LimitOwner(models.TextChoices):
    """Whose a limit is: the platform's are ceilings that a tenant can neither raise nor remove."""

    PLATFORM = "platform", _("Platform")
    TENANT = "tenant", _("Tenant")


class Limit(TenantOwned, Timestamped):
    """One bound on what a tenant may use: as a whole, through one key, of one model, or both.

    Of several that bound the same, the lowest counts. 0 allows nothing; no row means no limit. `model` is a
    public name and covers every name that leads to the same model; "" covers all models.
    """

    id_prefix = "lim"

    owner = models.CharField(_("owner"), max_length=16, choices=LimitOwner.choices)
    kind = models.CharField(_("kind"), max_length=32, choices=LimitKind.choices)
    value = models.BigIntegerField(_("value"))
    key = models.ForeignKey(
        APIKey, verbose_name=_("key"), on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    model = models.CharField(_("model"), max_length=200, blank=True)
    is_enabled = models.BooleanField(_("enabled"), default=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("limit")
        verbose_name_plural = _("limits")
        ordering = ["-id"]
        constraints = [
            # One per owner, kind and reach; also serves "this tenant's limits".
            models.UniqueConstraint(
                fields=["tenant", "owner", "kind", "key", "model"],
                name="tenants_limit_once",
                nulls_distinct=False,
                violation_error_message=_("There is such a limit already. Change it instead."),
            ),
            models.CheckConstraint(
                condition=models.Q(value__gte=0) & models.Q(value__lte=MAX_LIMIT),
                name="tenants_limit_value_bounded",
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=LimitKind.values), name="tenants_limit_kind_known"
            ),
            models.CheckConstraint(
                condition=models.Q(owner__in=LimitOwner.values), name="tenants_limit_owner_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class WorkState(models.TextChoices):
    """How far a piece of work in the background has come."""

    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")
    EXPIRED = "expired", _("Expired")


class TenantExport(TenantOwned, Timestamped):
    """All of a tenant's data as one ZIP file of JSON Lines, made by the jobs worker and kept for some days."""

    id_prefix = "exp"

    state = models.CharField(_("state"), max_length=16, choices=WorkState.choices, default=WorkState.WAITING)
    steps_done = models.PositiveIntegerField(_("steps done"), default=0)
    steps = models.PositiveIntegerField(_("steps"), default=0)
    rows = models.PositiveBigIntegerField(_("rows"), default=0)
    size_bytes = models.PositiveBigIntegerField(_("size"), default=0)
    sha256 = models.CharField(_("digest (SHA-256)"), max_length=64, blank=True)
    requested_by = models.CharField(_("requested by"), max_length=254, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("export")
        verbose_name_plural = _("exports")
        ordering = ["-id"]
        indexes = [models.Index(fields=["tenant", "-id"], name="tenants_export_by_tenant")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=WorkState.values), name="tenants_export_state_known"
            )
        ]

    def __str__(self) -> str:
        return self.public_id


class ErasureKind(models.TextChoices):
    """Whose data is erased."""

    END_USER = "end_user", _("One end user's data")
    TENANT = "tenant", _("The whole tenant")


class Erasure(TenantOwned, Timestamped):
    """An erasure, and once it is done its certificate: what went from which store, what stays and why.

    The end user is named by a keyed digest only, and in clear, encrypted, until the work is done. `digest` is the
    SHA-256 of the certificate's canonical JSON, `signature` its HMAC with a key of the platform's.
    """

    id_prefix = "era"

    kind = models.CharField(_("kind"), max_length=16, choices=ErasureKind.choices)
    state = models.CharField(_("state"), max_length=16, choices=WorkState.choices, default=WorkState.WAITING)
    subject = models.TextField(blank=True, editable=False)  # encrypted; emptied when done
    subject_digest = models.CharField(_("end user's digest"), max_length=64, blank=True)
    reason = models.CharField(_("reason"), max_length=1000)
    requested_by = models.CharField(_("requested by"), max_length=254)
    removed = models.JSONField(_("removed"), default=dict, blank=True)  # class -> store -> how many
    kept = models.JSONField(_("kept"), default=dict, blank=True)  # class -> why
    begun_at = models.DateTimeField(_("begun"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    digest = models.CharField(_("digest"), max_length=64, blank=True)
    signature = models.CharField(_("signature"), max_length=64, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        ordering = ["-id"]
        indexes = [models.Index(fields=["tenant", "-id"], name="tenants_erasure_by_tenant")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=WorkState.values), name="tenants_erasure_state_known"
            ),
            models.CheckConstraint(
                condition=models.Q(kind__in=ErasureKind.values), name="tenants_erasure_kind_known"
            ),
            # Once done, the name in clear is gone.
            models.CheckConstraint(
                condition=~models.Q(state="done") | models.Q(subject=""), name="tenants_erasure_done_forgets"
            ),
        ]

    def __str__(self) -> str:
        return self.public_id


class RetentionRun(Identified):
    """One run of retention over one class of data, and its proof: what went, of which span, and a digest of the ids."""

    id_prefix = "ret"
    tenant_scope: ClassVar[str] = "global"

    data_class = models.CharField(_("class of data"), max_length=100)
    is_dry_run = models.BooleanField(_("dry run"), default=False)
    removed = models.BigIntegerField(_("removed"), default=0)
    details = models.JSONField(_("details"), default=list)
    digest = models.CharField(_("digest"), max_length=64)  # SHA-256 of the run's canonical JSON
    ran_by = models.CharField(_("run by"), max_length=254)
    begun_at = models.DateTimeField(_("begun"))
    finished_at = models.DateTimeField(_("finished"))

    objects = models.Manager["RetentionRun"]()
    unscoped = models.Manager["RetentionRun"]()

    class Meta:
        verbose_name = _("retention run")
        verbose_name_plural = _("retention runs")
        ordering = ["-id"]
        indexes = [models.Index(fields=["data_class", "-id"], name="tenants_retention_by_class")]

    def __str__(self) -> str:
        return f"{self.data_class} {self.removed}"
