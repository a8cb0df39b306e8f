"""OpenAPI: what drf-spectacular cannot know of our viewsets by itself. Imported once, by ApiConfig.ready."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import get_doc
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from api.idempotency import HEADER as IDEMPOTENCY_HEADER
from api.idempotency import MAX_KEY_LENGTH
from api.permissions import declared
from api.problems import CONTENT_TYPE
from api.serializers import ProblemOutput
from api.viewsets import USUAL_STATUS

ID_PATTERN = "[0-9a-hjkmnp-tv-z]{26}"


class ScopedSchema(AutoSchema):
    """One operation of a `ScopedViewSet`: its bodies, its id in the path, its errors, the permission it
    needs.
    """

    @property
    def scoped(self) -> Any:
        """The viewset whose operation this is."""
        return self.view

    def get_request_serializer(self) -> Any:
        """The action's input."""
        return self.scoped.inputs.get(self.scoped.action)

    def get_response_serializers(self) -> Any:
        """The action's output, and problem details for whatever goes wrong."""
        view, action = self.scoped, self.scoped.action
        output = view.outputs.get(action, view.output)
        status = view.statuses.get(action, USUAL_STATUS.get(action, 200))
        if self._is_list_view():
            output = output(many=True)
        return {
            status: OpenApiResponse(None if status == 204 else output),
            ("default", CONTENT_TYPE): OpenApiResponse(ProblemOutput, description="Problem (RFC 9457)"),
        }

    def _is_list_view(self, serializer: Any = None) -> bool:
        return bool(self.scoped.action == "list" and not self.scoped.is_single)

    def get_override_parameters(self) -> list[Any]:
        """The idempotency key of POST."""
        if self.method != "POST":
            return []
        return [
            OpenApiParameter(
                IDEMPOTENCY_HEADER,
                {"type": "string", "maxLength": MAX_KEY_LENGTH},
                OpenApiParameter.HEADER,
                description="Sent twice with the same key and body, the request is carried out once.",
            )
        ]

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        """The operation, with its permission and the form of the id in its path."""
        operation = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        operation["x-permission"] = declared(self.scoped, self.scoped.action) or ""
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] == "id":
                pattern = f"^{self.scoped.model.id_prefix}_{ID_PATTERN}$"
                parameter["schema"] = {"type": "string", "pattern": pattern}
                parameter.pop("description", None)
        return operation

    def get_description(self) -> str:  # type: ignore[override]
        """The action's docstring; for a list and one object, what they are lists and objects of."""
        if self.scoped.action in ("list", "retrieve") and not self.scoped.is_single:
            return str(get_doc(type(self.scoped)))
        return str(super().get_description())

    def get_serializer_name(self, serializer: Any, direction: Any) -> str:
        """The component's name: what goes out is called after the thing itself."""
        return str(super().get_serializer_name(serializer, direction)).removesuffix("Output")

    def get_tags(self) -> list[str]:
        """The collection's name."""
        parts = [part for part in self.path.split("/") if part]
        return [parts[2] if len(parts) > 2 else "api"]


class ScopedAuthenticationScheme(OpenApiAuthenticationExtension):
    """An API key, or the console's session."""

    target_class = "api.authentication.ScopedAuthentication"
    name = ["apiKey", "session"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> Any:
        """Either of them."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> Any:
        """Both ways in."""
        return [
            {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key (atr-…) with the scope read or manage.",
            },
            {"type": "apiKey", "in": "cookie", "name": "sessionid"},
        ]


class PublicIdScheme(OpenApiSerializerFieldExtension):
    """Public ids are strings of one form."""

    target_class = "api.fields.PublicIdField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> Any:
        """The form."""
        return {"type": "string", "pattern": f"^{self.target.prefix}_{ID_PATTERN}$"}
