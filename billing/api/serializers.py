"""What usage looks like outside."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from access.models import APIKey
from accounts.models import User
from api.fields import PublicIdField
from api.serializers import OutputWithId
from billing.models import Outcome
from models_registry.models import Deployment, ModelVersion
from tenants.models import Tenant


class UsageOutput(OutputWithId):
    """What one request used. `replica` and `deployment` are for the platform's staff."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    request_id = serializers.CharField()
    key = PublicIdField(APIKey.id_prefix, source="key_id", allow_null=True)
    user = PublicIdField(User.id_prefix, source="user_id", allow_null=True)
    model = serializers.CharField(help_text=_("The public name that was asked for."))
    version = PublicIdField(ModelVersion.id_prefix, source="version_id", allow_null=True)
    deployment = PublicIdField(Deployment.id_prefix, source="deployment_id", allow_null=True)
    route = serializers.CharField()
    stream = serializers.BooleanField()
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    queue_ms = serializers.IntegerField()
    first_token_ms = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField()
    outcome = serializers.ChoiceField(Outcome.choices)
    error_code = serializers.CharField()
    end_user = serializers.CharField()
    gpu_prefill_ns = serializers.IntegerField()
    gpu_decode_ns = serializers.IntegerField()
    tags = serializers.DictField(child=serializers.CharField())
    charge_nano = serializers.IntegerField()
    currency = serializers.CharField()
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()
