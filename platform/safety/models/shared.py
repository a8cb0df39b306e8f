"""The platform's own rules: every tenant may read them, operators write them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from core.models import Identified
from safety.models.fields import KEY, Revised, RuleAction, RuleFields, VersionFields, WordListFields


class PlatformSafety(Identified, Revised):
    """The one row of the platform's safety: which version is in force, and how far the draft is."""

    id_prefix = "psf"
    tenant_scope: ClassVar[str] = "global"

    is_only = models.BooleanField(default=True, unique=True, editable=False)
    version = models.PositiveIntegerField(_("version in force"), default=0)  # 0: nothing was published yet
    draft_revision = models.PositiveIntegerField(_("revision of the draft"), default=0)
    # How much of `safety.builtin` has been brought in; what operators then removed is not brought back.
    builtin_revision = models.PositiveIntegerField(_("revision of the built-in rules"), default=0)

    class Meta:
        verbose_name = _("platform's safety")
        verbose_name_plural = _("platform's safety")
        constraints = [models.CheckConstraint(condition=models.Q(is_only=True), name="safety_platform_once")]

    def __str__(self) -> str:
        return gettext("Platform")


class PlatformWordList(Identified, WordListFields):
    """A word list of the platform."""

    id_prefix = "pwl"
    tenant_scope: ClassVar[str] = "global"

    class Meta:
        verbose_name = _("platform's word list")
        verbose_name_plural = _("platform's word lists")
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["name"], name="safety_platform_list_name_once")]

    def __str__(self) -> str:
        return str(self.name)


class PlatformRule(Identified, RuleFields):
    """A rule for all tenants. `key` is its name in verdicts, e.g. `pii.email`, and never changes."""

    id_prefix = "prl"
    tenant_scope: ClassVar[str] = "global"

    key = models.CharField(_("key"), max_length=100, unique=True, validators=[KEY])
    word_list = models.ForeignKey(
        PlatformWordList,
        verbose_name=_("word list"),
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        related_name="rules",
    )
    tenant_controlled = models.BooleanField(
        _("tenants may loosen"),
        default=False,
        help_text=_(
            "Tenants may always make a rule stricter. With this, also milder, as far as is said below."
        ),
    )
    loosest_in = models.CharField(
        _("mildest on the way in"), max_length=16, choices=RuleAction.choices, default=RuleAction.OFF
    )
    loosest_out = models.CharField(
        _("mildest on the way out"), max_length=16, choices=RuleAction.choices, default=RuleAction.OFF
    )
    is_builtin = models.BooleanField(_("built in"), default=False, editable=False)

    class Meta:
        verbose_name = _("platform's rule")
        verbose_name_plural = _("platform's rules")
        ordering = ["key"]

    def __str__(self) -> str:
        return str(self.key)

    @property
    def rule_id(self) -> str:
        """How verdicts name the rule."""
        return str(self.key)

    @property
    def shown_name(self) -> str:
        """The name, in the reader's language where the rule is built in."""
        return gettext(self.name) if self.is_builtin and self.name else str(self.name)


class PlatformRuleSetVersion(Identified, VersionFields):
    """A published version of the platform's rules."""

    id_prefix = "psv"
    tenant_scope: ClassVar[str] = "global"

    # What tenants may loosen: rule → [mildest in, mildest out].
    controls = models.JSONField(_("what tenants may loosen"), default=dict)

    class Meta:
        verbose_name = _("version of the platform's rules")
        verbose_name_plural = _("versions of the platform's rules")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["number"], name="safety_platform_version_once")]

    def __str__(self) -> str:
        return f"{gettext('Platform')} {self.number}"
