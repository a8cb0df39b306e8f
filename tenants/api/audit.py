"""REST views of the audit trail: its events, its chain, and its proof."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.files import AnyTypeRenderer, Streamed, file_responses
from api.filters import refuse_unknown_parameters
from api.viewsets import ListMixin, RetrieveMixin, ScopedViewSet
from audit import bundle, trail
from audit import selectors as audit_selectors
from audit.links import chain_name, tenant_of_chain
from audit.models import AuditChain, AuditEvent
from audit.services import record_export, verification
from audit.state import state
from core.errors import InvalidInput
from core.scoping import current_scope
from tenants.api import audit_files, audit_filters, audit_serializers
from tenants.middleware import platform_view


@platform_view("audit trail")
class AuditEventViewSet(ListMixin, RetrieveMixin, ScopedViewSet):
    """The audit trail: the active tenant's; for the platform's staff everybody's."""

    model = AuditEvent
    output = audit_serializers.AuditEventOutput
    filterset_class = audit_filters.AuditEventFilter
    permissions = {
        "list": "audit.event.read",
        "retrieve": "audit.event.read",
        "export": "audit.event.read",
    }

    def rows(self) -> QuerySet[Any]:
        """The events in scope."""
        return audit_selectors.events()

    def get_serializer_context(self) -> dict[str, Any]:
        """Staff see where their colleagues sat."""
        return {**super().get_serializer_context(), "is_staff": current_scope().platform}

    @extend_schema(
        filters=True,
        parameters=[audit_serializers.FileQuery],
        responses=file_responses(*audit_files.CONTENT_TYPES.values()),
    )
    @action(detail=False, renderer_classes=[AnyTypeRenderer])
    def export(self, request: Request) -> Streamed:
        """The filtered events, newest first, as a stream: CSV or JSON Lines. That it was taken is an event too."""
        names = set(audit_filters.AuditEventFilter.base_filters)
        refuse_unknown_parameters(request, {*names, "file"})
        given = request.query_params.dict()
        asked = audit_serializers.FileQuery(data={"file": given.pop("file", "csv")})
        asked.is_valid(raise_exception=True)
        form = asked.validated_data["file"]
        wanted = audit_files.Wanted(current_scope().tenant_id, given)
        wanted.refuse_invalid()
        record_export(
            actor=self.actor, tenant_id=wanted.tenant_id, what=f"audit events as {form}", query=given
        )
        return Streamed(
            audit_files.export(wanted, form=form),
            filename=f"audit-events.{form}",
            content_type=audit_files.CONTENT_TYPES[form],
        )


@platform_view("audit trail")
class AuditTrailViewSet(ScopedViewSet):
    """The chain that seals the events: the active tenant's; for the platform's staff any, theirs by default."""

    model = AuditChain
    output = audit_serializers.ChainOutput
    permissions = {
        "list": "audit.trail.read",
        "verify": "audit.trail.read",
        "export": "audit.trail.read",
    }
    inputs = {"verify": audit_serializers.VerifyInput}
    outputs = {"verify": audit_serializers.VerifiedOutput}
    pagination_class = None
    is_single = True

    @extend_schema(parameters=[audit_serializers.ChainQuery])
    def list(self, request: Request) -> Response:
        """How the chain stands: its last link, the last one that was signed, and what waits."""
        tenant_id = self._owner(self.read_query(audit_serializers.ChainQuery).get("chain"))
        return self.answer(state(tenant_id=tenant_id))

    @action(detail=False, methods=["post"])
    def verify(self, request: Request) -> Response:
        """Verify the trail against itself and against what was signed. Staff verify all chains unless they name one.

        Goes through the newest 200,000 links of a chain, from a signed one on; `manage.py audit_verify` through all.
        """
        given = self.read(audit_serializers.VerifyInput)
        owners = [self._owner(given.get("chain"))]
        if current_scope().platform and "chain" not in given:
            owners = trail.chains() or [None]
        found = verification.verify_several(actor=self.actor, owners=owners, since=given.get("since"))
        return self.answer(found)

    @extend_schema(parameters=[audit_serializers.ChainQuery], responses=file_responses(bundle.CONTENT_TYPE))
    @action(detail=False, renderer_classes=[AnyTypeRenderer])
    def export(self, request: Request) -> Streamed:
        """The whole trail with its proof, as a zip archive that verifies without the platform."""
        tenant_id = self._owner(self.read_query(audit_serializers.ChainQuery).get("chain"))
        head = trail.chain(tenant_id=tenant_id)
        name = chain_name(tenant_id)
        record_export(actor=self.actor, tenant_id=tenant_id, what="audit trail with proof")
        return Streamed(
            bundle.bundle(tenant_id=tenant_id, last_sequence=head.sequence, last_hash=head.hash),
            filename=f"audit-trail-{name}.zip",
            content_type=bundle.CONTENT_TYPE,
        )

    def _owner(self, chain: str | None) -> UUID | None:
        """Whose chain is meant. Raises InvalidInput alike for a foreign and for an absent one."""
        scope = current_scope()
        if chain is None:
            return scope.tenant_id
        try:
            owner = tenant_of_chain(chain)
        except ValueError:
            owner = UUID(int=0)
        known = {None, *trail.chains()} if scope.platform else {scope.tenant_id}
        if owner not in known:
            raise InvalidInput(_("There is no such chain."), field="chain", code="not_found")
        return owner
