"""REST of call logs and of the policy behind them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_filters
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema
from psycopg.errors import QueryCanceled
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import APIKey
from accounts.models import User
from api.fields import PublicIdField
from api.filters import DayFilter, PublicIdFilter
from api.renderers import AnyTypeRenderer, file_responses
from api.serializers import InputSerializer, NoInput, OutputSerializer, OutputWithId
from api.streams import Streamed
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from core import clock
from core.errors import Unavailable
from core.scoping import current_scope
from inference.call_logs import documents, selectors, services
from inference.call_logs.models import CallLog, LogLevel, LogOutcome, LogPolicy
from models_registry.models import Deployment, ModelVersion
from tenants.middleware import platform_view
from tenants.models import Tenant


class CallLogFilter(django_filters.FilterSet):
    """What logs are searched by."""

    request_id = django_filters.CharFilter(max_length=100)
    trace_id = django_filters.CharFilter(max_length=32)
    key = PublicIdFilter("key_id", prefix=APIKey.id_prefix)
    member = PublicIdFilter("user_id", prefix=User.id_prefix)
    model = django_filters.CharFilter(max_length=200)
    outcome = django_filters.ChoiceFilter(choices=LogOutcome.choices)
    error_code = django_filters.CharFilter(max_length=100)
    limit_name = django_filters.CharFilter(max_length=100)
    end_user = django_filters.CharFilter(max_length=256)
    address = django_filters.CharFilter(max_length=64)
    since = DayFilter("started_at", lookup_expr="gte")
    until = DayFilter("started_at", lookup_expr="lt")
    text = django_filters.CharFilter(method="with_text", min_length=2, max_length=100)

    class Meta:
        model = CallLog
        fields: list[str] = []

    def with_text(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Whose summaries hold a text; without `since`, of the last seven days."""
        given = self.form.cleaned_data
        return selectors.containing(queryset, value, since=given.get("since"), until=given.get("until"))


class CallLogOutput(OutputWithId):
    """One request. Summaries are redacted; `deployment` and `replica` are for the platform's staff."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    request_id = serializers.CharField()
    key = PublicIdField(APIKey.id_prefix, source="key_id", allow_null=True)
    user = PublicIdField(User.id_prefix, source="user_id", allow_null=True)
    address = serializers.CharField()
    user_agent = serializers.CharField()
    route = serializers.CharField()
    model = serializers.CharField()
    version = PublicIdField(ModelVersion.id_prefix, source="version_id", allow_null=True)
    deployment = PublicIdField(Deployment.id_prefix, source="deployment_id", allow_null=True)
    replica = serializers.CharField()
    stream = serializers.BooleanField()
    parameters = serializers.DictField()
    prompt_summary = serializers.CharField()
    response_summary = serializers.CharField()
    prompt_chars = serializers.IntegerField()
    response_chars = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    queue_ms = serializers.IntegerField()
    first_token_ms = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField()
    charge_nano = serializers.IntegerField()
    currency = serializers.CharField()
    is_settled = serializers.BooleanField()
    verdicts = serializers.ListField(child=serializers.DictField())
    outcome = serializers.ChoiceField(LogOutcome.choices)
    status = serializers.IntegerField()
    error_code = serializers.CharField()
    limit_name = serializers.CharField()
    finish_reason = serializers.CharField()
    trace_id = serializers.CharField()
    end_user = serializers.CharField()
    tags = serializers.DictField(child=serializers.CharField())
    has_text = serializers.BooleanField()
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()


class FullTextOutput(OutputSerializer):
    """What was said, whole."""

    prompt = serializers.CharField()
    response = serializers.CharField()
    is_cut = serializers.BooleanField()


class LogExportQuery(InputSerializer):
    """Which logs to export, and as what."""

    file = serializers.ChoiceField([("csv", "CSV"), ("jsonl", "JSON Lines")], required=False, default="csv")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    model = serializers.CharField(max_length=200, required=False)
    outcome = serializers.ChoiceField(LogOutcome.choices, required=False)
    end_user = serializers.CharField(max_length=256, required=False)
    key = PublicIdField(APIKey.id_prefix, required=False)


@platform_view("call logs")
class CallLogViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Requests of the active tenant, refused ones included, newest first; for the platform's staff everybody's."""

    model = CallLog
    output = CallLogOutput
    filterset_class = CallLogFilter
    permissions = {
        "list": "inference.log.read",
        "retrieve": "inference.log.read",
        "export": "inference.log.read",
        "text": "inference.log.read_text",
    }
    outputs = {"text": FullTextOutput}
    inputs = {"text": NoInput}

    @property
    def cursor_ordering(self) -> tuple[str, ...]:
        """By the index that there is: by start inside a tenant, by id (when it was stored) for all tenants at once."""
        return ("-id",) if current_scope().platform else ("-started_at", "-id")

    def rows(self) -> QuerySet[Any]:
        """The logs in scope."""
        return selectors.call_logs()

    def list(self, request: Request) -> Response:
        """One page; a search by text that takes too long says so."""
        try:
            return super().list(request)
        except OperationalError as error:
            if isinstance(error.__cause__, QueryCanceled):
                message = _("The search took too long. Name a shorter span of time with since and until.")
                raise Unavailable(message, code="search_too_long") from None
            raise

    @extend_schema(parameters=[LogExportQuery], responses=file_responses(*documents.CONTENT_TYPES.values()))
    @action(detail=False, renderer_classes=[AnyTypeRenderer])
    def export(self, request: Request) -> Streamed:
        """Logs of a span as a stream: CSV or JSON Lines. The last day unless said otherwise."""
        asked = self.read_query(LogExportQuery)
        until = asked.get("until") or clock.now()
        since = asked.get("since") or until - timedelta(days=1)
        names = {"model": "model", "outcome": "outcome", "end_user": "end_user", "key": "key_id"}
        only = {column: asked[name] for name, column in names.items() if asked.get(name)}
        wanted = selectors.Wanted(current_scope().tenant_id, since, until, only)
        form = asked["file"]
        return Streamed(
            documents.export(wanted, form=form),
            filename=f"calls-{since:%Y%m%d}-{until:%Y%m%d}.{form}",
            content_type=documents.CONTENT_TYPES[form],
        )

    # POST: reading leaves a trace, and no proxy or history may do it by itself.
    @action(detail=True, methods=["post"])
    def text(self, request: Request, id: str) -> Response:  # noqa: A002
        """The full text, where the tenant keeps it. Each reading is written to the audit trail."""
        row = self.get_object()
        self.read(NoInput)
        return self.answer(services.read_text(log=row, actor=self.actor))


class LogPolicyOutput(OutputSerializer):
    """What a tenant wants logged."""

    level = serializers.ChoiceField(LogLevel.choices)
    sample_percent = serializers.IntegerField()
    retention_days = serializers.IntegerField()
    kept_entities = serializers.ListField(child=serializers.CharField())


class ChangeLogPolicy(InputSerializer):
    """What is not named stays."""

    level = serializers.ChoiceField(LogLevel.choices, required=False)
    sample_percent = serializers.IntegerField(required=False, min_value=0, max_value=100)
    retention_days = serializers.IntegerField(required=False, min_value=1, max_value=3650)
    kept_entities = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        max_length=64,
        help_text=gettext_lazy("Kinds of personal data that are not masked. Credentials always are."),
    )


class LogPolicyViewSet(ScopedViewSet):
    """The active tenant's log policy; the defaults where it has set none."""

    model = LogPolicy  # one per tenant; the path takes no id
    output = LogPolicyOutput
    permissions = {
        "list": "inference.log_policy.read",
        "change": "inference.log_policy.change",
        "turn_key_over": "inference.log_policy.change",
    }
    inputs = {"change": ChangeLogPolicy, "turn_key_over": NoInput}
    pagination_class = None
    is_single = True

    def list(self, request: Request) -> Response:
        """The policy."""
        self.read_query(NoInput)
        self.tenant_id  # noqa: B018 - inside a tenant only
        return self.answer(selectors.policy_in_scope())

    @action(detail=False, methods=["post"])
    def change(self, request: Request) -> Response:
        """Another policy, in force within a second."""
        self.tenant_id  # noqa: B018
        return self.answer(services.set_policy(actor=self.actor, **self.read(ChangeLogPolicy)))

    @action(detail=False, methods=["post"], url_path="turn-key-over")
    def turn_key_over(self, request: Request) -> Response:
        """A new data key for full texts to come."""
        self.tenant_id  # noqa: B018
        self.read(NoInput)
        services.turn_key_over(actor=self.actor)
        return self.answer(selectors.policy_in_scope())
