"""What goes out of the endpoints of reviews and hits."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from api.fields import PublicIdField
from api.serializers import OutputSerializer, OutputWithId
from safety.models import ReviewState, RuleAction, RuleDirection
from tenants.api.safety.serializers import VerdictOutput


class ReviewOutput(OutputWithId):
    """A text that waits for a person, or waited; without the text itself."""

    rule = serializers.CharField()
    category = serializers.CharField()
    direction = serializers.ChoiceField(RuleDirection.choices)
    state = serializers.ChoiceField(ReviewState.choices)
    model = serializers.CharField()
    request_id = serializers.CharField()
    verdicts = VerdictOutput(many=True)
    text_length = serializers.IntegerField()
    is_cut = serializers.BooleanField(help_text=_("More was refused than is kept."))
    times_refused = serializers.IntegerField()
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.CharField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ReviewText(OutputSerializer):
    """The text."""

    text = serializers.CharField()


class HitOutput(OutputWithId):
    """How often a rule's version matched on a day."""

    tenant = PublicIdField("ten", source="tenant_id")
    day = serializers.DateField()
    rule = serializers.CharField()
    version = serializers.IntegerField()
    category = serializers.CharField()
    action = serializers.ChoiceField(RuleAction.choices)
    direction = serializers.ChoiceField(RuleDirection.choices)
    count = serializers.IntegerField()
