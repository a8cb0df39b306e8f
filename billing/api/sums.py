"""What sums of usage and costs look like outside, and how they are asked for."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from access.models import APIKey
from accounts.models import User
from api.fields import PublicIdField
from api.serializers import InputSerializer, OutputSerializer
from billing.models import Outcome

BY = [
    ("day", _("Day")),
    ("hour", _("Hour")),
    ("model", _("Model")),
    ("key", _("Key")),
    ("member", _("Member")),
    ("tag", _("Tag")),
    ("outcome", _("Outcome")),
]
FILES = [("csv", "CSV"), ("xlsx", "XLSX"), ("jsonl", "JSON Lines")]


class SummaryQuery(InputSerializer):
    """Which requests to sum up, and by what."""

    by = serializers.ChoiceField(BY, required=False, default="day")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    model = serializers.CharField(max_length=200, required=False)
    key = PublicIdField(APIKey.id_prefix, required=False)
    member = PublicIdField(User.id_prefix, required=False)
    outcome = serializers.ChoiceField(Outcome.choices, required=False)
    tag = serializers.CharField(max_length=265, required=False, help_text=_("A tag's name, or name=value."))


class ExportQuery(InputSerializer):
    """Which records to export, and as what."""

    file = serializers.ChoiceField(FILES, required=False, default="csv")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    model = serializers.CharField(max_length=200, required=False)


class ChargeOutput(OutputSerializer):
    """What was charged in one currency."""

    currency = serializers.CharField()
    nano = serializers.IntegerField(help_text=_("Billionths of the currency unit."))
    amount = serializers.CharField(help_text=_("The same as exact decimal text."))


class UsageTotals(OutputSerializer):
    """Sums over the requests of one group."""

    group = serializers.CharField(
        allow_null=True, help_text=_("The day, hour, model, key, member, tag or outcome.")
    )
    requests = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    gpu_seconds = serializers.CharField()
    slot_seconds = serializers.CharField()
    charges = ChargeOutput(many=True)


class UsageSummary(OutputSerializer):
    """Sums over a span of time."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    by = serializers.CharField()
    groups = UsageTotals(many=True)
    totals = UsageTotals()


class CostGroup(OutputSerializer):
    """What one group was charged in one currency."""

    group = serializers.CharField(allow_null=True)
    currency = serializers.CharField()
    nano = serializers.IntegerField()
    amount = serializers.CharField()
    requests = serializers.IntegerField(help_text=_("All requests of the group, whatever their currency."))


class CostsOutput(OutputSerializer):
    """What requests were charged over a span of time."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    by = serializers.CharField()
    groups = CostGroup(many=True)
    totals = ChargeOutput(many=True)
