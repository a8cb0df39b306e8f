"""A tenant's own rules and settings, walled."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.models import TenantOwned
from safety.models.fields import OnFailure, Revised, RuleAction, RuleFields, VersionFields, WordListFields


class TenantSafety(TenantOwned, Revised):
    """A tenant's settings: at most one row each; without one the defaults hold."""

    id_prefix = "tsf"

    version = models.PositiveIntegerField(_("version in force"), default=0)
    draft_revision = models.PositiveIntegerField(_("revision of the draft"), default=0)
    on_failure = models.CharField(
        _("when rules cannot be checked"), max_length=8, choices=OnFailure.choices, default=OnFailure.CLOSE
    )
    language = models.CharField(
        _("language of refusals"), max_length=16, blank=True, help_text=_("Empty: the platform's.")
    )
    refusal_message = models.CharField(
        _("sentence of refusals"), max_length=500, blank=True, help_text=_("Empty: the platform's.")
    )

    plants_canaries = models.BooleanField(
        _("tokens in system prompts"),
        default=False,
        help_text=_(
            "A secret token is added to system prompts; an answer that shows it gives the prompt away."
        ),
    )
    spotlights = models.BooleanField(
        _("results of tools marked as data"),
        default=False,
        help_text=_(
            "What tools return is put between delimiters, and the model told not to take orders from it."
        ),
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("safety settings")
        verbose_name_plural = _("safety settings")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="safety_settings_once"),
            models.CheckConstraint(
                condition=models.Q(on_failure__in=OnFailure.values), name="safety_on_failure_known"
            ),
        ]

    def __str__(self) -> str:
        return str(self.tenant_id)


class WordList(TenantOwned, WordListFields):
    """A word list of a tenant."""

    id_prefix = "wdl"

    class Meta(TenantOwned.Meta):
        verbose_name = _("word list")
        verbose_name_plural = _("word lists")
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="safety_list_name_once")]

    def __str__(self) -> str:
        return str(self.name)


class Rule(TenantOwned, RuleFields):
    """A rule of a tenant, for its own texts."""

    id_prefix = "rul"

    word_list = models.ForeignKey(
        WordList,
        verbose_name=_("word list"),
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        related_name="rules",
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("rule")
        verbose_name_plural = _("rules")
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="safety_rule_name_once")]

    def __str__(self) -> str:
        return str(self.name)

    @property
    def rule_id(self) -> str:
        """How verdicts name the rule."""
        return self.public_id

    @property
    def shown_name(self) -> str:
        """The name."""
        return str(self.name)


class RuleSetVersion(TenantOwned, VersionFields):
    """A published version of a tenant's rules."""

    id_prefix = "rsv"

    class Meta(TenantOwned.Meta):
        verbose_name = _("version of a rule set")
        verbose_name_plural = _("versions of rule sets")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "number"], name="safety_version_once")]

    def __str__(self) -> str:
        return str(self.number)


class Override(TenantOwned, Revised):
    """What a tenant has one of the platform's rules do instead; in force at once, without a version.

    An empty action leaves that direction as the platform has it. What the platform does not allow, or no longer,
    has no effect: `safety.policies.effective`.
    """

    id_prefix = "sov"

    rule = models.CharField(_("rule"), max_length=100)
    action_in = models.CharField(
        _("action on the way in"), max_length=16, choices=RuleAction.choices, blank=True
    )
    action_out = models.CharField(
        _("action on the way out"), max_length=16, choices=RuleAction.choices, blank=True
    )

    class Meta(TenantOwned.Meta):
        verbose_name = _("changed platform rule")
        verbose_name_plural = _("changed platform rules")
        ordering = ["rule"]
        constraints = [models.UniqueConstraint(fields=["tenant", "rule"], name="safety_override_once")]

    def __str__(self) -> str:
        return str(self.rule)


class Disclaimer(TenantOwned, Revised):
    """Text before and after every answer of a model, or (`model` empty) of all that have none of their own."""

    id_prefix = "dsc"

    model = models.CharField(
        _("model"), max_length=200, blank=True, help_text=_("Public name; empty: all others.")
    )
    prefix = models.TextField(_("before the answer"), max_length=2000, blank=True)
    suffix = models.TextField(_("after the answer"), max_length=2000, blank=True)

    class Meta(TenantOwned.Meta):
        verbose_name = _("disclaimer")
        verbose_name_plural = _("disclaimers")
        ordering = ["model"]
        constraints = [models.UniqueConstraint(fields=["tenant", "model"], name="safety_disclaimer_once")]

    def __str__(self) -> str:
        return str(self.model) or gettext("All models")
