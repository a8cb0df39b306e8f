"""What every change of the registry does besides: look up the row under lock, and tell the other processes."""

from __future__ import annotations

from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model as AnyModel
from django.utils.translation import gettext as _

from core.errors import InvalidInput, NotAllowed, NotFound
from core.events import announce
from core.scoping import current_scope
from models_registry.models import Model, Visibility

Row = TypeVar("Row", bound=AnyModel)


def locked(row: Row, *related: str) -> Row:
    """The row as it stands, locked to the end of the transaction.

    Raises NotFound for one outside the scope.
    """
    row_type: Any = type(row)
    found = (
        row_type.objects.select_for_update(of=("self",)).select_related(*related).filter(pk=row.pk).first()
    )
    if found is None:
        raise NotFound(_("There is no such object."))
    return found


def require_owned(row: Any) -> None:
    """Raise NotAllowed unless the scope in force may write the row: its own tenant's, or through the platform door.

    PostgreSQL refuses the write as well; this is what a person gets told.
    """
    scope = current_scope()
    if not scope.platform and (scope.tenant_id is None or row.tenant_id != scope.tenant_id):
        raise NotAllowed(_("Only its owner may change this."))


def check_fields(row: AnyModel, *fields: str) -> None:
    """Validate some fields of a row (all, when none is named).

    Raises InvalidInput naming the first that is wrong.
    """
    names = {field.name for field in row._meta.concrete_fields}
    try:
        row.clean_fields(exclude=names - set(fields) if fields else None)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(" ".join(messages), field=field) from None


def announce_model(model: Model) -> None:
    """Tell every process that what tenants may call has changed: the owner alone for a private model, else all."""
    private = model.visibility == Visibility.PRIVATE
    announce("registry", tenant_id=model.tenant_id if private else None, object_id=model.pk)
