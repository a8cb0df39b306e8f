"""The columns that the platform's rules and a tenant's have in common, and the words in them."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.models import Timestamped


class RuleKind(models.TextChoices):
    """How a rule finds its matches."""

    TERMS = "terms", _("Words")
    PATTERN = "pattern", _("Regular expression")
    PII = "pii", _("Personal data")
    INJECTION = "injection", _("Prompt injection")
    CANARY = "canary", _("Planted token")


class RuleAction(models.TextChoices):
    """What happens on a match, from the mildest to the strictest."""

    OFF = "off", _("Not looked at")
    FLAG = "flag", _("Recorded")
    MASK = "mask", _("Masked")
    REPLACE = "replace", _("Replaced")
    REVIEW = "review", _("Refused until a person approves")
    BLOCK = "block", _("Refused")


class RuleSeverity(models.TextChoices):
    """How bad a match is."""

    LOW = "low", _("Low")
    MEDIUM = "medium", _("Medium")
    HIGH = "high", _("High")
    CRITICAL = "critical", _("Critical")


class RuleDirection(models.TextChoices):
    """Which way a text goes."""

    IN = "in", _("To the model")
    OUT = "out", _("From the model")


class OnFailure(models.TextChoices):
    """What happens to requests while a rule set cannot be loaded or a checker fails."""

    CLOSE = "close", _("Refuse requests")
    OPEN = "open", _("Let requests through unchecked")


class ReviewState(models.TextChoices):
    """How a review stands."""

    PENDING = "pending", _("Waiting")
    APPROVED = "approved", _("Approved")
    REJECTED = "rejected", _("Rejected")


CATEGORY = RegexValidator(
    r"^[\w][\w .\-]*\Z", _("Use letters, digits, spaces, dots and hyphens."), code="invalid_category"
)
KEY = RegexValidator(
    r"^[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*\Z",
    _("Use lower-case letters, digits and underscores, in parts that are joined by dots."),
    code="invalid_key",
)


class Revised(Timestamped):
    """A row that two people may edit at once: whoever saves names the revision that they saw."""

    revision = models.PositiveIntegerField(_("revision"), default=1)

    class Meta:
        abstract = True


class RuleFields(Revised):
    """A rule of a draft. Which fields count is up to its kind (`safety.policies.check_rule`)."""

    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=16, choices=RuleKind.choices)
    category = models.CharField(_("category"), max_length=50, validators=[CATEGORY])
    severity = models.CharField(
        _("severity"), max_length=16, choices=RuleSeverity.choices, default=RuleSeverity.MEDIUM
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    action_in = models.CharField(
        _("action on the way in"), max_length=16, choices=RuleAction.choices, default=RuleAction.OFF
    )
    action_out = models.CharField(
        _("action on the way out"), max_length=16, choices=RuleAction.choices, default=RuleAction.OFF
    )
    # A few words of the rule's own; many are better kept in a list.
    terms = models.JSONField(_("words"), default=list, blank=True)
    whole_words = models.BooleanField(_("whole words only"), default=False)
    pattern = models.CharField(_("regular expression"), max_length=2000, blank=True)
    entity = models.CharField(_("kind of personal data"), max_length=50, blank=True)
    threshold = models.PositiveSmallIntegerField(
        _("threshold"), default=0, validators=[MaxValueValidator(100)]
    )
    replacement = models.CharField(_("replacement"), max_length=200, blank=True)

    class Meta:
        abstract = True


class WordListFields(Revised):
    """Words of one kind, used by any number of rules. Up to 100,000 of them, compressed: `safety.terms` reads them."""

    name = models.CharField(_("name"), max_length=100)
    category = models.CharField(_("category"), max_length=50, validators=[CATEGORY])
    severity = models.CharField(
        _("severity"), max_length=16, choices=RuleSeverity.choices, default=RuleSeverity.MEDIUM
    )
    content = models.BinaryField(_("words"), default=bytes, editable=False)
    term_count = models.PositiveIntegerField(_("number of words"), default=0, editable=False)

    class Meta:
        abstract = True


class VersionFields(models.Model):
    """A rule set as it was published: `safety.spec.RuleSet` as compressed MessagePack. Never changes (a trigger)."""

    number = models.PositiveIntegerField(_("version"))
    content = models.BinaryField(_("content"), editable=False)
    digest = models.CharField(_("digest"), max_length=64, editable=False)  # SHA-256 of the MessagePack
    rule_count = models.PositiveIntegerField(_("rules"))
    term_count = models.PositiveIntegerField(_("words"))
    note = models.CharField(_("note"), max_length=500, blank=True)
    # The number of the older version whose rules these are; set by rolling back.
    restores = models.PositiveIntegerField(_("restores version"), null=True)
    published_at = models.DateTimeField(_("published"), auto_now_add=True)
    published_by_id = models.UUIDField(_("publisher's id"), null=True)
    published_by = models.CharField(_("published by"), max_length=254)

    class Meta:
        abstract = True
