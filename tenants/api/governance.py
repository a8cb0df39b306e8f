"""REST of data governance: the catalogue, retention runs, exports, erasures and their certificates."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.fields import PublicIdField
from api.problems import CONTENT_TYPE
from api.renderers import AnyTypeRenderer
from api.serializers import InputSerializer, NoInput, OutputSerializer, OutputWithId, ProblemOutput
from api.streams import Streamed
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from tenants import selectors
from tenants.middleware import platform_view
from tenants.models import Erasure, ErasureKind, RetentionRun, Tenant, TenantExport, WorkState
from tenants.services import erasure, exports, retention


class DataClassOutput(OutputSerializer):
    """One class of data: what, where, how long, and what becomes of it."""

    name = serializers.CharField()
    title = serializers.CharField()
    holds = serializers.CharField()
    retained = serializers.CharField()
    tables = serializers.ListField(child=serializers.CharField(), source="models")
    keys = serializers.ListField(child=serializers.CharField())
    files = serializers.ListField(child=serializers.CharField())
    is_exported = serializers.BooleanField(source="exported")
    kept_after_closing = serializers.CharField(source="kept")


class DataClassesOutput(OutputSerializer):
    """The catalogue."""

    results = DataClassOutput(many=True)


class DataClassViewSet(ScopedViewSet):
    """Where tenants' data lives. The same for everybody."""

    model = RetentionRun  # classes are no rows; the path takes no id
    output = DataClassesOutput
    permissions = {"list": "tenants.data_class.read"}
    pagination_class = None
    is_single = True

    def list(self, request: Request) -> Response:
        """All classes, by name."""
        self.read_query(NoInput)
        return self.answer({"results": selectors.data_classes()})


class RetentionRunOutput(OutputWithId):
    """One run over one class of data."""

    data_class = serializers.CharField()
    is_dry_run = serializers.BooleanField()
    removed = serializers.IntegerField()
    details = serializers.ListField(child=serializers.DictField())
    digest = serializers.CharField()
    ran_by = serializers.CharField()
    begun_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField()


class ApplyRetention(InputSerializer):
    """Which class; all that have a rule when none is named."""

    data_class = serializers.CharField(max_length=100, required=False, default="")
    dry_run = serializers.BooleanField(required=False, default=True)

    def validate_data_class(self, value: str) -> str:
        """A class that has a rule."""
        if value and value not in selectors.classes_with_retention():
            raise serializers.ValidationError(self.error_messages["unknown"], code="unknown")
        return value


class RetentionFilter(django_filters.FilterSet):
    """By class."""

    data_class = django_filters.CharFilter(max_length=100)
    is_dry_run = django_filters.BooleanFilter()

    class Meta:
        model = RetentionRun
        fields: list[str] = []


class RetentionRunsOutput(OutputSerializer):
    """What a request ran."""

    results = RetentionRunOutput(many=True)


@platform_view("retention")
class RetentionViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Runs of retention, newest first, with what they removed. For the platform's staff."""

    model = RetentionRun
    output = RetentionRunOutput
    filterset_class = RetentionFilter
    permissions = {
        "list": "tenants.retention.read",
        "retrieve": "tenants.retention.read",
        "create": "tenants.retention.apply",
    }
    inputs = {"create": ApplyRetention}
    outputs = {"create": RetentionRunsOutput}
    statuses = {"create": status.HTTP_200_OK}

    def rows(self) -> QuerySet[Any]:
        """All runs."""
        return selectors.retention_runs()

    def create(self, request: Request) -> Response:
        """Count what is too old (dry run, the default), or have it removed now by the jobs worker."""
        given = self.read(ApplyRetention)
        if not given["dry_run"]:
            retention.request(actor=self.actor, data_class=given["data_class"])
            return self.answer({"results": []})
        runs = retention.apply(actor=self.actor, dry_run=True, data_class=given["data_class"])
        return self.answer({"results": runs})


class ExportOutput(OutputWithId):
    """One export and how far it is."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    state = serializers.ChoiceField(WorkState.choices)
    steps_done = serializers.IntegerField()
    steps = serializers.IntegerField()
    rows = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    requested_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)


class ExportFilter(django_filters.FilterSet):
    """By state."""

    state = django_filters.ChoiceFilter(choices=WorkState.choices)

    class Meta:
        model = TenantExport
        fields: list[str] = []


@platform_view("exports")
class ExportViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Exports of all of the active tenant's data, newest first."""

    model = TenantExport
    output = ExportOutput
    filterset_class = ExportFilter
    permissions = {
        "list": "tenants.export.read",
        "retrieve": "tenants.export.read",
        "create": "tenants.export.create",
        "download": "tenants.export.download",
    }
    inputs = {"create": NoInput}

    def rows(self) -> QuerySet[Any]:
        """The exports in scope."""
        return selectors.exports()

    def create(self, request: Request) -> Response:
        """Have one made; the jobs worker writes it, this object tells how far it is."""
        self.read(NoInput)
        return self.answer(exports.request(actor=self.actor, tenant_id=self.tenant_id))

    @extend_schema(
        responses={
            (200, "application/zip"): OpenApiTypes.BINARY,
            ("default", CONTENT_TYPE): OpenApiResponse(ProblemOutput, description="Problem (RFC 9457)"),
        }
    )
    @action(detail=True, renderer_classes=[AnyTypeRenderer])
    def download(self, request: Request, id: str) -> HttpResponseBase:  # noqa: A002
        """The file, as a stream. Each download is written to the audit trail."""
        row = self.get_object()
        self.read_query(NoInput)
        return Streamed(
            exports.download(export=row, actor=self.actor),
            filename=f"{row.public_id}.zip",
            content_type="application/zip",
        )


class ErasureOutput(OutputWithId):
    """An erasure; once it is done, its certificate."""

    tenant = PublicIdField(Tenant.id_prefix, source="tenant_id")
    kind = serializers.ChoiceField(ErasureKind.choices)
    state = serializers.ChoiceField(WorkState.choices)
    end_user_digest = serializers.CharField(source="subject_digest")
    reason = serializers.CharField()
    requested_by = serializers.CharField()
    removed = serializers.DictField()
    kept = serializers.DictField()
    digest = serializers.CharField()
    signature = serializers.CharField()
    created_at = serializers.DateTimeField()
    begun_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class CertificateOutput(OutputSerializer):
    """What was signed, as it was signed, and whether the row still says it."""

    certificate = serializers.DictField()
    digest = serializers.CharField()
    signature = serializers.CharField()
    is_genuine = serializers.BooleanField()


class EraseEndUser(InputSerializer):
    """Whose data, and why."""

    end_user = serializers.CharField(max_length=erasure.MAX_END_USER, trim_whitespace=False)
    reason = serializers.CharField(max_length=1000)


class ErasureFilter(django_filters.FilterSet):
    """By state."""

    state = django_filters.ChoiceFilter(choices=WorkState.choices)

    class Meta:
        model = Erasure
        fields: list[str] = []


@platform_view("erasures")
class ErasureViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Erasures of end users' data, and of whole tenants, newest first."""

    model = Erasure
    output = ErasureOutput
    filterset_class = ErasureFilter
    permissions = {
        "list": "tenants.erasure.read",
        "retrieve": "tenants.erasure.read",
        "create": "tenants.erasure.create",
        "certificate": "tenants.erasure.read",
    }
    inputs = {"create": EraseEndUser}
    outputs = {"certificate": CertificateOutput}

    def rows(self) -> QuerySet[Any]:
        """The erasures in scope."""
        return selectors.erasures()

    def create(self, request: Request) -> Response:
        """Have everything erased that is kept of one end user."""
        given = self.read(EraseEndUser)
        return self.answer(erasure.request_end_user(actor=self.actor, tenant_id=self.tenant_id, **given))

    @action(detail=True)
    def certificate(self, request: Request, id: str) -> Response:  # noqa: A002
        """What was removed and what stays, signed."""
        row = self.get_object()
        self.read_query(NoInput)
        return self.answer(
            {
                "certificate": erasure.certificate(row),
                "digest": row.digest,
                "signature": row.signature,
                "is_genuine": erasure.is_genuine(row),
            }
        )
