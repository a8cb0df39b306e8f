"""Base serializers: what goes out is listed by hand, what comes in may hold nothing that was not declared."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from api.fields import PublicIdField


class InputSerializer(serializers.Serializer[Any]):
    """A request's body. A field that is not declared, or not writable, is an error that names it.

    SECURITY: mass assignment (CVE-2026-47101, CVE-2026-47102): silently dropping `tenant` or `role` would
    hide an attack and a typing mistake alike.
    """

    default_error_messages = {"unknown": _("There is no such field, or it cannot be set.")}

    def to_internal_value(self, data: Any) -> Any:
        """Validate; refuse what is not declared."""
        if isinstance(data, dict):
            known = {name for name, field in self.fields.items() if not field.read_only}
            unknown = {
                name: [serializers.ErrorDetail(str(self.error_messages["unknown"]), code="unknown")]
                for name in sorted(set(data) - known)
            }
            if unknown:
                raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)


class NoInput(InputSerializer):
    """An action that takes no body, or an empty one."""


class ReasonInput(InputSerializer):
    """An action that must be justified; the reason goes to the audit trail."""

    reason = serializers.CharField(max_length=1000, help_text=_("Why; kept in the audit trail."))


class OutputSerializer(serializers.Serializer[Any]):
    """One object as the API shows it. Fields are listed one by one: nothing goes out by being in the
    model.
    """


class OutputWithId(OutputSerializer):
    """An object with an id of its own, in its public form."""

    id = serializers.CharField(source="public_id", read_only=True)


class ProblemItem(OutputSerializer):
    """One field that is wrong."""

    field = serializers.CharField()
    message = serializers.CharField()
    code = serializers.CharField()


class ProblemOutput(OutputSerializer):
    """RFC 9457 problem details, for the schema; written by api.problems."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    code = serializers.CharField()
    errors = ProblemItem(many=True)  # type: ignore[assignment]
    request_id = serializers.CharField()


__all__ = [
    "InputSerializer",
    "NoInput",
    "OutputSerializer",
    "OutputWithId",
    "ProblemOutput",
    "PublicIdField",
    "ReasonInput",
]
