"""CallLog, CallLogText, LogPolicy and DataKey: what is kept of a tenant's requests, how much, and under which key."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import TenantOwned, Timestamped

DEFAULT_RETENTION_DAYS = 30
MAX_RETENTION_DAYS = 3_650


class LogLevel(models.TextChoices):
    """How much of a request is kept."""

    NOTHING = "nothing", _("Nothing")
    SUMMARIES = "summaries", _("Facts and redacted summaries")
    FULL = "full", _("Facts, summaries and the full text, encrypted")


class LogOutcome(models.TextChoices):
    """How a request ended, as its caller saw it."""

    COMPLETED = "completed", _("Completed")
    CANCELLED = "cancelled", _("Client gone")
    FAILED = "failed", _("Failed")
    REFUSED = "refused", _("Refused")
    BLOCKED = "blocked", _("Blocked by a safety rule")
    LOST = "lost", _("Lost")


class LogPolicy(TenantOwned, Timestamped):
    """What one tenant wants logged. A tenant without a row has the defaults that stand here."""

    id_prefix = "lgp"

    level = models.CharField(_("level"), max_length=16, choices=LogLevel.choices, default=LogLevel.SUMMARIES)
    sample_percent = models.PositiveSmallIntegerField(_("sampled, percent"), default=100)
    retention_days = models.PositiveSmallIntegerField(_("kept, days"), default=DEFAULT_RETENTION_DAYS)
    # Kinds of personal data that are left as they are. Keys and credentials are masked whatever stands here.
    kept_entities = ArrayField(
        models.CharField(max_length=64),
        verbose_name=_("entities that are not masked"),
        default=list,
        blank=True,
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("log policy")
        verbose_name_plural = _("log policies")
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="inference_log_policy_once"),
            models.CheckConstraint(
                condition=models.Q(level__in=LogLevel.values), name="inference_log_policy_level_known"
            ),
            models.CheckConstraint(
                condition=models.Q(sample_percent__lte=100), name="inference_log_policy_sample_bounded"
            ),
            models.CheckConstraint(
                condition=models.Q(retention_days__gte=1, retention_days__lte=MAX_RETENTION_DAYS),
                name="inference_log_policy_retention_bounded",
            ),
        ]

    def __str__(self) -> str:
        return self.level


class DataKey(TenantOwned, Timestamped):
    """One of a tenant's keys for full text, wrapped by the platform's key. Destroyed, all that it sealed is noise."""

    id_prefix = "dky"

    wrapped = models.TextField(blank=True, editable=False)  # empty once destroyed
    is_active = models.BooleanField(_("in use for new texts"), default=True)
    destroyed_at = models.DateTimeField(_("destroyed"), null=True, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("data key")
        verbose_name_plural = _("data keys")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(is_active=True), name="inference_data_key_one_active"
            ),
            models.CheckConstraint(
                condition=models.Q(destroyed_at__isnull=True) | models.Q(wrapped="", is_active=False),
                name="inference_data_key_destroyed_is_gone",
            ),
        ]
        indexes = [models.Index(fields=["tenant", "-id"], name="inference_data_key_by_tenant")]

    def __str__(self) -> str:
        return self.public_id


class CallLog(TenantOwned):
    """One request: who asked for what from where, what came of it, and redacted summaries of what was said.

    Two parties bring a row together, in any order and any number of times: the web process (who, what, how it
    ended) and the usage record (tokens, engine, charge). Partitioned by month of `started_at`, which both take
    from the request's ticket; keys, people and versions are ids only, because they may be gone by now.
    """

    id_prefix = "log"

    request_id = models.CharField(_("request id"), max_length=100)
    key_id = models.UUIDField(_("key"), null=True, blank=True)
    user_id = models.UUIDField(_("user"), null=True, blank=True)
    address = models.CharField(_("network address"), max_length=64, blank=True, default="")
    user_agent = models.CharField(_("client program"), max_length=200, blank=True, default="")
    route = models.CharField(_("route"), max_length=100, blank=True, default="")
    model = models.CharField(_("model"), max_length=200, blank=True, default="")
    version_id = models.UUIDField(_("version"), null=True, blank=True)
    deployment_id = models.UUIDField(_("deployment"), null=True, blank=True)
    replica = models.CharField(_("replica"), max_length=200, blank=True, default="")
    stream = models.BooleanField(_("stream"), default=False)
    parameters = models.JSONField(_("parameters"), default=dict, blank=True)
    prompt_summary = models.TextField(_("prompt"), blank=True, default="")
    response_summary = models.TextField(_("response"), blank=True, default="")
    prompt_chars = models.PositiveBigIntegerField(_("characters of the prompt"), default=0)
    response_chars = models.PositiveBigIntegerField(_("characters of the response"), default=0)
    # In lower case, of both summaries: what the search by text reads.
    search_text = models.TextField(blank=True, default="", editable=False)
    prompt_tokens = models.PositiveBigIntegerField(_("prompt tokens"), default=0)
    cached_tokens = models.PositiveBigIntegerField(_("of these cached"), default=0)
    completion_tokens = models.PositiveBigIntegerField(_("completion tokens"), default=0)
    queue_ms = models.PositiveBigIntegerField(_("waiting time"), default=0)
    first_token_ms = models.PositiveBigIntegerField(_("time to first token"), null=True, blank=True)
    duration_ms = models.PositiveBigIntegerField(_("duration"), default=0)
    charge_nano = models.BigIntegerField(_("charged"), default=0)
    currency = models.CharField(_("currency"), max_length=3, blank=True, default="")
    price_id = models.UUIDField(_("price"), null=True, blank=True)
    is_settled = models.BooleanField(_("settled"), default=False)  # tokens and charge are the usage record's
    verdicts = models.JSONField(_("verdicts"), default=list, blank=True)
    outcome = models.CharField(_("outcome"), max_length=16, choices=LogOutcome.choices)
    status = models.PositiveSmallIntegerField(_("status"), default=0)  # HTTP's; 0 where none was sent
    error_code = models.CharField(_("error"), max_length=100, blank=True, default="")
    limit_name = models.CharField(_("limit that refused"), max_length=100, blank=True, default="")
    finish_reason = models.CharField(_("finish reason"), max_length=32, blank=True, default="")
    trace_id = models.CharField(_("trace id"), max_length=32, blank=True, default="")
    end_user = models.CharField(_("end user"), max_length=256, blank=True, default="")
    tags = models.JSONField(_("tags"), default=dict, blank=True)
    has_text = models.BooleanField(_("full text is kept"), default=False)
    started_at = models.DateTimeField(_("started"))
    finished_at = models.DateTimeField(_("finished"))

    class Meta(TenantOwned.Meta):
        verbose_name = _("call log")
        verbose_name_plural = _("call logs")
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "request_id", "started_at"], name="inference_call_log_once"
            ),
            models.CheckConstraint(
                condition=models.Q(outcome__in=LogOutcome.values), name="inference_call_log_outcome_known"
            ),
        ]
        indexes = [
            # One request, for support staff who know its id and not its tenant.
            models.Index(fields=["request_id"], name="inference_log_by_request"),
            # A tenant's log, newest first; also what a search by text walks along.
            models.Index(fields=["tenant", "-started_at", "-id"], name="inference_log_by_time"),
            models.Index(fields=["tenant", "key_id", "-started_at", "-id"], name="inference_log_by_key"),
            models.Index(fields=["tenant", "model", "-started_at", "-id"], name="inference_log_by_model"),
            models.Index(
                fields=["tenant", "end_user", "-started_at", "-id"],
                condition=~models.Q(end_user=""),
                name="inference_log_by_end_user",
            ),
            # What people look for when something is wrong.
            models.Index(
                fields=["tenant", "outcome", "-started_at", "-id"],
                condition=~models.Q(outcome="completed"),
                name="inference_log_by_outcome",
            ),
        ]

    def __str__(self) -> str:
        return self.request_id


class CallLogText(TenantOwned):
    """The full text of one request, sealed with one of the tenant's data keys. Apart, so that lists never touch it.

    `content` is AES-256-GCM over JSON (`recorder.FullText`), bound to tenant and request.
    """

    id_prefix = "lgt"
    bound_to: ClassVar[str] = "call-log:{tenant}:{request}"

    request_id = models.CharField(_("request id"), max_length=100)
    data_key_id = models.UUIDField(_("data key"))
    content = models.BinaryField()
    end_user = models.CharField(_("end user"), max_length=256, blank=True, default="")
    started_at = models.DateTimeField(_("started"))

    class Meta(TenantOwned.Meta):
        verbose_name = _("full text")
        verbose_name_plural = _("full texts")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "request_id", "started_at"], name="inference_call_text_once"
            )
        ]
        indexes = [
            models.Index(fields=["tenant", "started_at"], name="inference_text_by_time"),
            models.Index(
                fields=["tenant", "end_user"],
                condition=~models.Q(end_user=""),
                name="inference_text_by_end_user",
            ),
        ]

    def __str__(self) -> str:
        return self.request_id
