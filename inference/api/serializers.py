"""What deployments and nodes look like outside, and what may be sent in."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.fields import PublicIdField, ReferenceField
from api.serializers import InputSerializer, OutputSerializer
from core.scoping import current_scope
from inference import selectors
from models_registry.api.serializers import Owned, is_own
from models_registry.models import Deployment, EngineKind, ModelVersion
from models_registry.models.deployments import MAX_REPLICAS, MIN_REPLICAS
from models_registry.selectors import version_by_public_id


class DeploymentOutput(Owned):
    """The wish that a version runs. Engine arguments and addresses are shown to the owner."""

    name = serializers.CharField()
    version = PublicIdField(ModelVersion.id_prefix, source="version_id")
    model_name = serializers.CharField(source="version.model.qualified_name")
    number = serializers.IntegerField(source="version.number")
    engine = serializers.ChoiceField(EngineKind.choices)
    replicas = serializers.IntegerField(source="desired_replicas")
    running = serializers.BooleanField()
    context_length = serializers.IntegerField(allow_null=True)
    pool = serializers.CharField()
    engine_args = serializers.SerializerMethodField()
    remote_base_url = serializers.SerializerMethodField()
    remote_model = serializers.SerializerMethodField()

    def get_engine_args(self, deployment: Deployment) -> dict[str, Any]:
        """The arguments."""
        return deployment.engine_args if is_own(deployment) else {}

    def get_remote_base_url(self, deployment: Deployment) -> str:
        """Where the remote engine is."""
        return deployment.remote_base_url if is_own(deployment) else ""

    def get_remote_model(self, deployment: Deployment) -> str:
        """What the model is called there."""
        return deployment.remote_model if is_own(deployment) else ""


class ReplicaOutput(OutputSerializer):
    """One running copy."""

    id = serializers.CharField()
    node = serializers.CharField(allow_null=True, help_text=_("Shown to the platform's staff."))
    state = serializers.CharField()
    capacity = serializers.IntegerField(allow_null=True)
    in_flight = serializers.IntegerField()
    counters = serializers.DictField(
        child=serializers.FloatField(),
        help_text=_("The engine's own: running, waiting, prompt_tokens, completion_tokens, aborted, busy_s."),
    )
    last_seen_ms = serializers.IntegerField()


class StatusOutput(OutputSerializer):
    """What really runs. Of a shared deployment tenants see how many replicas are ready, and nothing of the
    load.
    """

    ready = serializers.IntegerField()
    waiting = serializers.IntegerField(allow_null=True)
    running = serializers.IntegerField(allow_null=True)
    last_failure = serializers.CharField()
    replicas = ReplicaOutput(many=True)


class DeploymentDetail(DeploymentOutput):
    """A deployment, and what really runs of it."""

    status = serializers.SerializerMethodField()

    @extend_schema_field(StatusOutput)
    def get_status(self, deployment: Deployment) -> dict[str, Any]:
        """From heartbeats; two round trips to Valkey."""
        status = selectors.deployment_status(deployment.pk)
        if not is_own(deployment):
            # SECURITY: the load of a shared deployment is what other tenants are doing at the moment.
            status = {
                "ready": status["ready"],
                "waiting": None,
                "running": None,
                "last_failure": "",
                "replicas": [],
            }
        elif not current_scope().platform:
            status["replicas"] = [{**replica, "node": None} for replica in status["replicas"]]
        shown: dict[str, Any] = StatusOutput(status).data
        return shown


class CreateDeployment(InputSerializer):
    """Let a version run."""

    version = ReferenceField(ModelVersion.id_prefix, find=version_by_public_id)
    name = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    engine = serializers.ChoiceField(EngineKind.choices, required=False, default=EngineKind.VLLM)
    replicas = serializers.IntegerField(
        required=False, default=1, min_value=MIN_REPLICAS, max_value=MAX_REPLICAS
    )
    engine_args = serializers.DictField(required=False, default=dict)
    pool = serializers.CharField(max_length=40, required=False)
    remote_base_url = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")
    remote_model = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    credential = serializers.CharField(
        max_length=4_096,
        required=False,
        allow_blank=True,
        default="",
        write_only=True,
        help_text=_("Of a remote engine. Stored encrypted, never shown again."),
    )


class Scale(InputSerializer):
    """How many replicas."""

    replicas = serializers.IntegerField(min_value=MIN_REPLICAS, max_value=MAX_REPLICAS)


class Stop(InputSerializer):
    """Why; optional."""

    reason = serializers.CharField(max_length=1_000, required=False, allow_blank=True, default="")


class SetCredential(InputSerializer):
    """Another credential; empty for none."""

    credential = serializers.CharField(max_length=4_096, allow_blank=True, write_only=True)


class NodeOutput(OutputSerializer):
    """A machine that hosts engines."""

    name = serializers.CharField()
    alive = serializers.BooleanField()
    last_seen_ms = serializers.IntegerField()
    pool = serializers.CharField()
    slots = serializers.IntegerField()
    slots_used = serializers.IntegerField()
    engines = serializers.ListField(child=serializers.CharField())
    devices = serializers.JSONField()


class NodesOutput(OutputSerializer):
    """All nodes: few enough for one page."""

    results = NodeOutput(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class QueueOutput(OutputSerializer):
    """A tenant's own place in the queue of one deployment."""

    deployment = PublicIdField(Deployment.id_prefix, source="deployment_id")
    name = serializers.CharField()
    model_name = serializers.CharField()
    waiting = serializers.IntegerField(help_text=_("Requests of yours that wait."))
    running = serializers.IntegerField(help_text=_("Requests of yours that run."))
    turn = serializers.IntegerField(
        allow_null=True, help_text=_("Tenants whose turn comes before yours; null when nothing waits.")
    )
    share = serializers.FloatField(
        help_text=_("Your part of the service while others are active as now, from 0 to 1.")
    )
    first_wait_ms = serializers.IntegerField(
        allow_null=True,
        help_text=_("Until your next waiting request is taken: an estimate, null when unknown."),
    )
    expected_wait_ms = serializers.IntegerField(
        allow_null=True, help_text=_("Until a request sent now is taken: an estimate, null when unknown.")
    )
    limit = serializers.IntegerField(help_text=_("Requests that may wait; one more is refused (queue_full)."))


class QueuesOutput(OutputSerializer):
    """All queues in sight: as many as deployments run."""

    results = QueueOutput(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
