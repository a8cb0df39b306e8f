"""Base viewsets: reads come from selectors, writes go to services, and each action declares its permission.

A viewset states `rows()` (a selector's queryset, in the caller's scope), `permissions` (action → permission),
`output` (serializer), `filterset_class`, and writes in short actions: validate, call one service, answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from api import idempotency
from api.filters import StrictFilterBackend, refuse_unknown_parameters
from api.parsers import MAX_BODY_BYTES, BoundedJSONParser, too_large
from api.permissions import DeclaredPermission
from api.serializers import InputSerializer, OutputSerializer
from audit.services import record_view
from core.actors import Actor
from core.errors import NotAllowed, NotFound
from core.ids import parse_public_id
from core.scoping import current_scope

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
USUAL_STATUS = {"create": status.HTTP_201_CREATED, "destroy": status.HTTP_204_NO_CONTENT}


class ScopedViewSet(GenericViewSet[Any]):
    """What every viewset of ours does: bounded body, declared permission, one transaction, idempotent
    POST.
    """

    parser_classes = [BoundedJSONParser]
    permission_classes = [DeclaredPermission]
    filter_backends = [StrictFilterBackend]
    metadata_class = None  # OPTIONS tells nothing
    http_method_names = ["get", "post", "patch", "put", "delete", "head"]
    lookup_field = "id"
    lookup_url_kwarg = "id"
    lookup_value_regex = "[^/]+"

    permissions: ClassVar[dict[str, str]] = {}
    model: ClassVar[Any]  # what `rows()` are rows of; its `id_prefix` is the path's
    output: ClassVar[type[OutputSerializer]]

    # For the schema: which serializer reads an action's body, which writes its answer where that is not
    # `output`, and its status where that is not the usual one.
    inputs: ClassVar[dict[str, type[InputSerializer]]] = {}
    outputs: ClassVar[dict[str, type[OutputSerializer]]] = {}
    statuses: ClassVar[dict[str, int]] = {}
    # The most bytes of the body of an action that takes files; at most settings.MAX_BODY_BYTES.
    body_limits: ClassVar[dict[str, int]] = {}
    # `list` answers with one object and not with a page of them.
    is_single: ClassVar[bool] = False
    # People without a membership are refused before the view asks a tenant's table.
    needs_scope: ClassVar[bool] = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """DRF's own cycle, with unsafe methods inside a savepoint that an error rolls back."""
        self.args, self.kwargs = args, kwargs
        wrapped = self.initialize_request(request, *args, **kwargs)
        self.request = wrapped
        self.headers = self.default_response_headers
        response: Any  # a replayed answer is none of DRF's
        try:
            if request.method not in SAFE_METHODS:
                _bound_body(request, self.body_limits.get(self.action or "", MAX_BODY_BYTES))
            self.initial(wrapped, *args, **kwargs)
            name = (wrapped.method or "").lower()
            handler = self.http_method_not_allowed
            if name in self.http_method_names:
                handler = getattr(self, name, self.http_method_not_allowed)
            if request.method in SAFE_METHODS:
                response = handler(wrapped, *args, **kwargs)
            else:
                response = self._change(wrapped, handler, *args, **kwargs)
        except Exception as error:
            response = self.handle_exception(error)
        self.response = self.finalize_response(wrapped, response, *args, **kwargs)
        self.response.headers.setdefault("Cache-Control", "no-store")
        return self.response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, check the declared permission, and make sure that there is a scope to work in."""
        super().initial(request, *args, **kwargs)
        scope = current_scope()
        if self.needs_scope and self.action and not (scope.platform or scope.tenant_id):
            raise NotAllowed(_("You are not a member of any tenant."), code="no_tenant")

    def _change(
        self, request: Request, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Run a handler that writes: all of it, with its idempotency record, or nothing."""
        with transaction.atomic():
            attempt = None
            if request.method == "POST":
                begun = idempotency.begin(request, self.actor)
                if isinstance(begun, HttpResponseBase):
                    return begun
                attempt = begun
            response: Response = handler(request, *args, **kwargs)
            if attempt is not None:
                idempotency.keep(attempt, response)
        return response

    @property
    def actor(self) -> Actor:
        """Who is asking; set by api.authentication before any action runs."""
        actor: Actor = self.request.auth  # type: ignore[assignment]
        return actor

    @property
    def tenant_id(self) -> UUID:
        """The active tenant, for what only makes sense inside one. Raises NotAllowed behind the platform
        door.
        """
        tenant_id = current_scope().tenant_id
        if tenant_id is None:
            raise NotAllowed(_("This is done by the tenant's own people."), code="no_tenant")
        return tenant_id

    def rows(self) -> QuerySet[Any]:
        """The rows that the caller may know of, from a selector. Runs inside the caller's scope."""
        raise NotImplementedError

    def get_queryset(self) -> QuerySet[Any]:
        """`rows()`, for DRF's own machinery; an empty list while the schema is being generated."""
        if getattr(self, "swagger_fake_view", False):
            return self.model.unscoped.none()
        return self.rows()

    def get_object(self) -> Any:
        """The row that the path names. Raises NotFound alike for an id that is malformed, absent or
        foreign.
        """
        try:
            key = parse_public_id(self.kwargs[self.lookup_url_kwarg or "id"], self.model.id_prefix)
        except ValueError:
            raise absent() from None
        found = self.get_queryset().filter(pk=key).first()
        if found is None:
            raise absent()
        if self.request.method in SAFE_METHODS and current_scope().platform:
            # What staff change says so by itself; that they looked stands in the tenant's own trail too.
            what = f"{self.request.method} {self.request.path}"
            record_view(actor=self.actor, row=found, what=what)
        return found

    def get_serializer_class(self) -> Any:
        """For the schema: the input of an action that has one, else the output."""
        return self.inputs.get(self.action, self.output)

    def read(self, serializer: type[InputSerializer], **extra: Any) -> dict[str, Any]:
        """The validated body. Raises ValidationError naming every field that is wrong."""
        bound = serializer(data=self.request.data, context={**self.get_serializer_context(), **extra})
        bound.is_valid(raise_exception=True)
        validated: dict[str, Any] = bound.validated_data
        return validated

    def read_query(self, serializer: type[InputSerializer]) -> dict[str, Any]:
        """The validated query. Raises ValidationError naming every parameter that is wrong or unknown."""
        refuse_unknown_parameters(self.request, set(serializer().fields))
        bound = serializer(data=self.request.query_params.dict(), context=self.get_serializer_context())
        bound.is_valid(raise_exception=True)
        validated: dict[str, Any] = bound.validated_data
        return validated

    def answer(self, thing: Any, **extra: Any) -> Response:
        """One object as JSON, in the action's own output and with its own status.

        201 also says where the object is to be found. `extra` goes to the serializer's context.
        """
        output = self.outputs.get(self.action, self.output)
        data = output(thing, context={**self.get_serializer_context(), **extra}).data
        code = self.statuses.get(self.action, USUAL_STATUS.get(self.action, status.HTTP_200_OK))
        headers = {}
        if code == status.HTTP_201_CREATED and "id" in data:
            headers["Location"] = self.reverse_action("detail", args=[data["id"]], request=None)
        return Response(data, status=code, headers=headers)


class ListMixin:
    """`GET /things/`: one page of rows, filtered."""

    def list(self: Any, request: Request) -> Response:
        """One page."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        serializer = self.output(page, many=True, context=self.get_serializer_context())
        return self.get_paginated_response(serializer.data)


class RetrieveMixin:
    """`GET /things/<id>/`: one object."""

    def retrieve(self: Any, request: Request, id: str) -> Response:  # noqa: A002  (the path's own word)
        """One object."""
        refuse_unknown_parameters(request, set())
        return self.answer(self.get_object())


def absent() -> NotFound:
    """The error for an object that is not there, or not for the caller."""
    return NotFound(_("There is no such object."))


def _bound_body(request: HttpRequest, limit: int) -> None:
    """Read the body now, at most `limit` bytes of it, so that its digest and its parser see the same bytes."""
    try:
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        announced = 0
    if announced > limit or len(request.body) > limit:
        raise too_large(limit)
    # A body sent in chunks announces no length, and DRF reads none where none is announced.
    request.META["CONTENT_LENGTH"] = str(len(request.body))
