"""REST views of deployments, queues and nodes: thin; reads from selectors, writes through the registry's services."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.serializers import NoInput
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from inference import selectors
from inference.api import filters, serializers
from models_registry import selectors as registry
from models_registry.api.views import owner
from models_registry.models import Deployment
from models_registry.services import deployments
from tenants.middleware import platform_view


@platform_view("deployments")
class DeploymentViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """Deployments: one's own, and the shared ones of visible models."""

    model = Deployment
    output = serializers.DeploymentOutput
    filterset_class = filters.DeploymentFilter
    permissions = {
        "list": "models_registry.deployment.read",
        "retrieve": "models_registry.deployment.read",
        "create": "models_registry.deployment.create",
        "destroy": "models_registry.deployment.delete",
        "scale": "models_registry.deployment.change",
        "start": "models_registry.deployment.change",
        "stop": "models_registry.deployment.change",
        "set_credential": "models_registry.deployment.change",
    }
    inputs = {
        "create": serializers.CreateDeployment,
        "scale": serializers.Scale,
        "start": NoInput,
        "stop": serializers.Stop,
        "set_credential": serializers.SetCredential,
    }
    outputs = {"retrieve": serializers.DeploymentDetail}

    def rows(self) -> QuerySet[Any]:
        """The deployments in sight."""
        return registry.deployments()

    def create(self, request: Request) -> Response:
        """Let a version run: for one's own tenant; an operator's serves all who may invoke the model."""
        given = self.read(serializers.CreateDeployment)
        return self.answer(deployments.create(actor=self.actor, tenant=owner(), **given))

    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002
        """Forget a stopped deployment."""
        deployments.remove(deployment=self.get_object(), actor=self.actor)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=True, methods=["post"])
    def scale(self, request: Request, id: str) -> Response:  # noqa: A002
        """Run as many replicas."""
        row = self.get_object()
        given = self.read(serializers.Scale)
        return self.answer(deployments.scale(deployment=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"])
    def start(self, request: Request, id: str) -> Response:  # noqa: A002
        """Let a stopped deployment run again."""
        row = self.get_object()
        self.read(NoInput)
        return self.answer(deployments.start(deployment=row, actor=self.actor))

    @action(detail=True, methods=["post"])
    def stop(self, request: Request, id: str) -> Response:  # noqa: A002
        """Take no new requests; what runs may finish."""
        row = self.get_object()
        given = self.read(serializers.Stop)
        return self.answer(deployments.stop(deployment=row, actor=self.actor, **given))

    @action(detail=True, methods=["post"], url_path="set-credential")
    def set_credential(self, request: Request, id: str) -> Response:  # noqa: A002
        """Replace a remote engine's credential."""
        row = self.get_object()
        given = self.read(serializers.SetCredential)
        deployment = deployments.set_credential(deployment=row, actor=self.actor, **given)
        return self.answer(deployment)


class NodeViewSet(ScopedViewSet):
    """Machines that host engines, as their heartbeats tell it. For the platform's staff."""

    model = Deployment  # nodes are no rows; the path takes no id
    output = serializers.NodesOutput
    permissions = {"list": "inference.node.read"}
    pagination_class = None
    is_single = True
    needs_scope = False

    def list(self, request: Request) -> Response:
        """All nodes, by name."""
        self.read_query(NoInput)
        return self.answer({"results": selectors.nodes(), "next": None, "previous": None})


class QueueViewSet(ScopedViewSet):
    """The active tenant's own place in the queues of the deployments that it may see. Nothing of other tenants."""

    model = Deployment  # queues are no rows; the path takes no id
    output = serializers.QueuesOutput
    permissions = {"list": "inference.queue.read"}
    pagination_class = None
    is_single = True

    def list(self, request: Request) -> Response:
        """One line per running deployment, by name: what waits, what runs, share of service and expected waits."""
        self.read_query(NoInput)
        return self.answer(
            {"results": selectors.queues(tenant_id=self.tenant_id), "next": None, "previous": None}
        )
