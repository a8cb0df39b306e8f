"""What goes in and out of the safety endpoints."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from api.fields import PublicIdField, ReferenceField
from api.serializers import InputSerializer, OutputSerializer, OutputWithId
from safety import selectors
from safety.models import OnFailure, RuleAction, RuleDirection, RuleKind, RuleSeverity
from safety.services.bench import MAX_TEXT
from safety.terms import MAX_TERM_LENGTH
from tenants import selectors as tenant_selectors

MOST_TERMS_IN_JSON = 10_000
_REVISION = _("The one that you saw: whoever saves over somebody else's change is told so (409).")


def _word() -> serializers.CharField:
    return serializers.CharField(max_length=MAX_TERM_LENGTH * 2, trim_whitespace=False)


class WithReason(InputSerializer):
    """What the platform's people do, they say why."""

    reason = serializers.CharField(max_length=1000, help_text=_("Why; kept in the audit trail."))


# --- Rules


class _RuleFields(OutputWithId):
    name = serializers.CharField(source="shown_name")
    kind = serializers.ChoiceField(RuleKind.choices)
    category = serializers.CharField()
    severity = serializers.ChoiceField(RuleSeverity.choices)
    is_enabled = serializers.BooleanField()
    action_in = serializers.ChoiceField(RuleAction.choices)
    action_out = serializers.ChoiceField(RuleAction.choices)
    whole_words = serializers.BooleanField()
    entity = serializers.CharField()
    threshold = serializers.IntegerField()
    replacement = serializers.CharField()
    revision = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class RuleOutput(_RuleFields):
    """A rule of the draft."""

    terms = serializers.ListField(child=serializers.CharField())
    word_list = PublicIdField("wdl", source="word_list_id", allow_null=True)
    pattern = serializers.CharField()


class PlatformRuleOutput(_RuleFields):
    """A rule of the platform's draft. Its words and patterns are shown to the platform's people only."""

    key = serializers.CharField(help_text=_("How verdicts name the rule."))
    terms = serializers.SerializerMethodField()
    word_list = PublicIdField("pwl", source="word_list_id", allow_null=True)
    pattern = serializers.SerializerMethodField()
    tenant_controlled = serializers.BooleanField()
    loosest_in = serializers.ChoiceField(RuleAction.choices)
    loosest_out = serializers.ChoiceField(RuleAction.choices)
    is_builtin = serializers.BooleanField()

    def get_terms(self, row: Any) -> list[str]:
        """The words; none for tenants."""
        return list(row.terms) if self.context.get("is_staff") else []

    def get_pattern(self, row: Any) -> str:
        """The regular expression; none for tenants."""
        return str(row.pattern) if self.context.get("is_staff") else ""


class CreateRule(InputSerializer):
    """A new rule. Which fields it takes is up to its kind."""

    name = serializers.CharField(max_length=100)
    kind = serializers.ChoiceField(RuleKind.choices)
    category = serializers.CharField(
        max_length=50, required=False, help_text=_("Defaults to the word list's.")
    )
    severity = serializers.ChoiceField(RuleSeverity.choices, required=False)
    is_enabled = serializers.BooleanField(required=False)
    action_in = serializers.ChoiceField(RuleAction.choices, required=False)
    action_out = serializers.ChoiceField(RuleAction.choices, required=False)
    terms = serializers.ListField(child=_word(), required=False, max_length=1000)
    word_list = ReferenceField("wdl", find=selectors.word_list_by_public_id, required=False, allow_null=True)
    whole_words = serializers.BooleanField(
        required=False, help_text=_("Words in Latin letters match whole words only.")
    )
    pattern = serializers.CharField(
        max_length=2000,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text=_("A regular expression in RE2's syntax."),
    )
    entity = serializers.CharField(
        max_length=50,
        required=False,
        allow_blank=True,
        help_text=_("Name of a recogniser, e.g. EMAIL_ADDRESS."),
    )
    threshold = serializers.IntegerField(min_value=0, max_value=100, required=False)
    replacement = serializers.CharField(
        max_length=200, required=False, allow_blank=True, trim_whitespace=False
    )


class ChangeRule(CreateRule):
    """What is to be changed of a rule."""

    name = serializers.CharField(max_length=100, required=False)
    kind = serializers.ChoiceField(RuleKind.choices, required=False)
    revision = serializers.IntegerField(min_value=1, help_text=_REVISION)


class CreatePlatformRule(CreateRule):
    """A new rule of the platform."""

    key = serializers.CharField(
        max_length=100, required=False, help_text=_("How verdicts name the rule; defaults to its id.")
    )
    word_list = ReferenceField(
        "pwl", find=selectors.platform_word_list_by_public_id, required=False, allow_null=True
    )
    tenant_controlled = serializers.BooleanField(
        required=False, help_text=_("Tenants may make the rule milder, down to the actions named beside.")
    )
    loosest_in = serializers.ChoiceField(RuleAction.choices, required=False)
    loosest_out = serializers.ChoiceField(RuleAction.choices, required=False)


class ChangePlatformRule(CreatePlatformRule):
    """What is to be changed of a rule of the platform. Its key stays."""

    name = serializers.CharField(max_length=100, required=False)
    kind = serializers.ChoiceField(RuleKind.choices, required=False)
    key = None  # type: ignore[assignment]
    revision = serializers.IntegerField(min_value=1, help_text=_REVISION)


# --- Word lists


class WordListOutput(OutputWithId):
    """A word list, without its words."""

    name = serializers.CharField()
    category = serializers.CharField()
    severity = serializers.ChoiceField(RuleSeverity.choices)
    term_count = serializers.IntegerField()
    revision = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class CreateWordList(InputSerializer):
    """A new word list; many words are better sent as a file afterwards."""

    name = serializers.CharField(max_length=100)
    category = serializers.CharField(max_length=50)
    severity = serializers.ChoiceField(RuleSeverity.choices, required=False)
    terms = serializers.ListField(child=_word(), required=False, max_length=MOST_TERMS_IN_JSON)


class ChangeWordList(InputSerializer):
    """Another name, category or severity."""

    name = serializers.CharField(max_length=100, required=False)
    category = serializers.CharField(max_length=50, required=False)
    severity = serializers.ChoiceField(RuleSeverity.choices, required=False)
    revision = serializers.IntegerField(min_value=1, help_text=_REVISION)


class ChangeTerms(InputSerializer):
    """Words to add and to remove."""

    add = serializers.ListField(child=_word(), required=False, max_length=MOST_TERMS_IN_JSON)
    remove = serializers.ListField(child=_word(), required=False, max_length=MOST_TERMS_IN_JSON)


class ReplaceTerms(InputSerializer):
    """Words in the place of all that the list holds."""

    terms = serializers.ListField(child=_word(), max_length=MOST_TERMS_IN_JSON)


class TermsFile(InputSerializer):
    """A file of words: UTF-8, one a line; or CSV with the words in the column `term`, or else in the first."""

    file = serializers.FileField()


class UploadQuery(InputSerializer):
    """Beside a file, which has no place for it."""

    revision = serializers.IntegerField(min_value=1, required=False, help_text=_REVISION)


class TermsQuery(InputSerializer):
    """Which of the words."""

    contains = serializers.CharField(max_length=100, required=False)
    offset = serializers.IntegerField(min_value=0, required=False, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=10_000, required=False, default=1_000)


class TermsOutput(OutputSerializer):
    """Words of a list, in order."""

    count = serializers.IntegerField(
        help_text=_("How many there are in all, or that contain what was asked for.")
    )
    terms = serializers.ListField(child=serializers.CharField())


# --- Versions


class VersionOutput(OutputWithId):
    """A published version."""

    number = serializers.IntegerField()
    rule_count = serializers.IntegerField()
    term_count = serializers.IntegerField()
    sha256 = serializers.CharField(source="digest", help_text=_("Of the rules as they were published."))
    note = serializers.CharField()
    restores = serializers.IntegerField(
        allow_null=True, help_text=_("The older version whose rules these are.")
    )
    published_at = serializers.DateTimeField()
    published_by = serializers.CharField()


class Publish(InputSerializer):
    """Put the draft in force."""

    note = serializers.CharField(max_length=500, required=False, allow_blank=True)
    draft_revision = serializers.IntegerField(
        min_value=0,
        required=False,
        help_text=_("The draft that you saw and tried; another one is refused (409)."),
    )


class RollBack(InputSerializer):
    """Put an older version's rules in force again, under a new number."""

    note = serializers.CharField(max_length=500, required=False, allow_blank=True)


class PublishPlatform(Publish, WithReason):
    """Put the platform's draft in force."""


class RollBackPlatform(RollBack, WithReason):
    """Put an older version of the platform's rules in force again."""


# --- Test bench


class VerdictOutput(OutputSerializer):
    """One match."""

    rule = serializers.CharField()
    version = serializers.IntegerField()
    kind = serializers.ChoiceField(RuleKind.choices)
    category = serializers.CharField()
    severity = serializers.ChoiceField(RuleSeverity.choices)
    action = serializers.ChoiceField(RuleAction.choices)
    direction = serializers.ChoiceField(RuleDirection.choices)
    start = serializers.IntegerField(help_text=_("Counted in characters (code points) of the text."))
    end = serializers.IntegerField()
    score = serializers.IntegerField(help_text=_("Of injection rules."))


class Bench(InputSerializer):
    """A text to try rules with."""

    text = serializers.CharField(max_length=MAX_TEXT, trim_whitespace=False)
    direction = serializers.ChoiceField(RuleDirection.choices, required=False, default=RuleDirection.IN)


class TryText(Bench):
    """A text for the draft, or for a published version."""

    version = serializers.IntegerField(
        min_value=0, required=False, allow_null=True, help_text=_("Left out: the draft.")
    )


class TriedOutput(OutputSerializer):
    """What became of the text."""

    text = serializers.CharField(help_text=_("What would be left of it; nothing after a refusal."))
    refused = VerdictOutput(allow_null=True)
    verdicts = VerdictOutput(many=True)
    versions = serializers.DictField(
        child=serializers.IntegerField(), help_text=_("Rule set and version; 0: the draft, or none.")
    )


class ChangedRule(OutputSerializer):
    """A rule that differs."""

    rule = serializers.CharField()
    fields_changed = serializers.ListField(child=serializers.CharField(), source="fields")
    terms_added = serializers.IntegerField()
    terms_removed = serializers.IntegerField()


class ChangesOutput(OutputSerializer):
    """How the draft differs from what is in force."""

    added = serializers.ListField(child=serializers.CharField())
    removed = serializers.ListField(child=serializers.CharField())
    changed = ChangedRule(many=True)


class ComparedOutput(OutputSerializer):
    """The draft beside what is in force."""

    changes = ChangesOutput()
    published = TriedOutput()
    draft = TriedOutput()
    is_same = serializers.BooleanField(help_text=_("Both do the same with the text."))


# --- Settings


class SafetyOutput(OutputSerializer):
    """How a tenant's safety stands."""

    version = serializers.IntegerField(help_text=_("In force; 0: nothing was published yet."))
    draft_revision = serializers.IntegerField()
    platform_version = serializers.IntegerField()
    on_failure = serializers.ChoiceField(OnFailure.choices)
    language = serializers.CharField()
    refusal_message = serializers.CharField()
    plants_canaries = serializers.BooleanField()
    spotlights = serializers.BooleanField()
    revision = serializers.IntegerField()


class ChangeSettings(InputSerializer):
    """What refusals say, and what is done to prompts."""

    language = serializers.CharField(max_length=16, required=False, allow_blank=True)
    refusal_message = serializers.CharField(max_length=500, required=False, allow_blank=True)
    plants_canaries = serializers.BooleanField(
        required=False,
        help_text=_("Add a secret token to system prompts; answers that show it are withheld."),
    )
    spotlights = serializers.BooleanField(
        required=False, help_text=_("Mark what tools return as data for the model.")
    )
    revision = serializers.IntegerField(min_value=1, help_text=_REVISION)


class SetOnFailure(WithReason):
    """What happens to requests while rules cannot be checked."""

    on_failure = serializers.ChoiceField(OnFailure.choices)


class SetTenantOnFailure(SetOnFailure):
    """The same, for a tenant that the platform's people name."""

    tenant = ReferenceField("ten", find=tenant_selectors.tenant_by_public_id)


class PlatformSafetyOutput(OutputSerializer):
    """How the platform's rules stand."""

    version = serializers.IntegerField()
    draft_revision = serializers.IntegerField()


class EffectiveRule(OutputSerializer):
    """A rule of the platform that is in force, and what it does for the tenant."""

    rule = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(RuleKind.choices)
    category = serializers.CharField()
    severity = serializers.ChoiceField(RuleSeverity.choices)
    platform_in = serializers.ChoiceField(RuleAction.choices)
    platform_out = serializers.ChoiceField(RuleAction.choices)
    action_in = serializers.ChoiceField(RuleAction.choices)
    action_out = serializers.ChoiceField(RuleAction.choices)
    mildest_in = serializers.ChoiceField(RuleAction.choices, help_text=_("That the tenant may choose."))
    mildest_out = serializers.ChoiceField(RuleAction.choices)


class EffectiveOutput(OutputSerializer):
    """The platform's rules as they hold for the tenant."""

    results = EffectiveRule(many=True)


class OverrideOutput(OutputWithId):
    """A rule of the platform that does something else for the tenant."""

    rule = serializers.CharField()
    action_in = serializers.CharField(help_text=_("Empty: as the platform has it."))
    action_out = serializers.CharField(help_text=_("Empty: as the platform has it."))
    revision = serializers.IntegerField()
    updated_at = serializers.DateTimeField()


class AddOverride(InputSerializer):
    """Have a rule of the platform do something else."""

    rule = serializers.CharField(max_length=100)
    action_in = serializers.ChoiceField(RuleAction.choices, required=False, allow_blank=True)
    action_out = serializers.ChoiceField(RuleAction.choices, required=False, allow_blank=True)


class ChangeOverride(InputSerializer):
    """Other actions."""

    action_in = serializers.ChoiceField(RuleAction.choices, required=False, allow_blank=True)
    action_out = serializers.ChoiceField(RuleAction.choices, required=False, allow_blank=True)
    revision = serializers.IntegerField(min_value=1, help_text=_REVISION)


class DisclaimerOutput(OutputWithId):
    """Text around answers."""

    model = serializers.CharField(help_text=_("Public name; empty: all others."))
    prefix = serializers.CharField()
    suffix = serializers.CharField()
    revision = serializers.IntegerField()
    updated_at = serializers.DateTimeField()


class AddDisclaimer(InputSerializer):
    """Text around the answers of a model, or of all others."""

    model = serializers.CharField(max_length=200, required=False, allow_blank=True)
    prefix = serializers.CharField(max_length=2000, required=False, allow_blank=True, trim_whitespace=False)
    suffix = serializers.CharField(max_length=2000, required=False, allow_blank=True, trim_whitespace=False)


class ChangeDisclaimer(InputSerializer):
    """Other text."""

    prefix = serializers.CharField(max_length=2000, required=False, allow_blank=True, trim_whitespace=False)
    suffix = serializers.CharField(max_length=2000, required=False, allow_blank=True, trim_whitespace=False)
    revision = serializers.IntegerField(min_value=1, help_text=_REVISION)
