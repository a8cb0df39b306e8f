"""Fields that the API's objects share: ids in their public form, and references to other objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import models
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from core.errors import NotFound
from core.ids import parse_public_id, public_id


class PublicIdField(serializers.Field[UUID, str, str, UUID]):
    """An id as `<prefix>_<26 characters>` outside and as a UUID inside. The prefix says what it is the id
    of.
    """

    default_error_messages = {"invalid": _("Not an id of the form %(prefix)s_….")}

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(**kwargs)

    def to_representation(self, value: UUID) -> str:
        """The public form."""
        return public_id(self.prefix, value)

    def to_internal_value(self, data: Any) -> UUID:
        """The UUID, or a validation error."""
        try:
            return parse_public_id(data if isinstance(data, str) else "", self.prefix)
        except ValueError:
            raise serializers.ValidationError(
                self.error_messages["invalid"] % {"prefix": self.prefix}, code="invalid"
            ) from None


class ReferenceField(PublicIdField):
    """The public id of another object, looked up by the caller's rights when written.

    `find` is a selector that takes `public_id=` and raises NotFound, alike for absent and foreign: the
    message for both is the same (L17). Costs one query per reference written, none per reference read.
    """

    default_error_messages = {"not_found": _("There is no such object.")}

    def __init__(self, prefix: str, *, find: Callable[..., models.Model], **kwargs: Any) -> None:
        self.find = find
        super().__init__(prefix, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        """The object itself."""
        super().to_internal_value(data)
        try:
            return self.find(public_id=data)
        except NotFound:
            raise serializers.ValidationError(self.error_messages["not_found"], code="not_found") from None
