"""The row that every change of an owner's rules locks first: which version is in force, and how far the draft is."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from core.errors import InvalidInput, NotFound
from safety.errors import Outdated
from safety.owners import Owner


def locked_head(owner: Owner) -> Any:
    """The owner's row, made where it is missing, locked to the end of the transaction. Two or three statements."""
    while True:
        found = owner.heads.objects.select_for_update(of=("self",)).filter(**owner.mine).first()
        if found is not None:
            return found
        try:
            with transaction.atomic():
                owner.heads(**owner.mine).save(force_insert=True)
        except IntegrityError:  # somebody else was faster
            continue


def touch_draft(head: Any) -> None:
    """Note that the draft is another one than before."""
    head.draft_revision += 1
    head.save(update_fields=["draft_revision", "updated_at"])


def locked(row: Any) -> Any:
    """A row as it stands, locked. Raises NotFound for one outside the scope or gone."""
    found = type(row).objects.select_for_update(of=("self",)).filter(pk=row.pk).first()
    if found is None:
        raise NotFound(_("There is no such object."))
    return found


def require_revision(row: Any, revision: int | None) -> None:
    """Raise Outdated when the caller saw another revision. None: the caller is the only editor (seeds, tests)."""
    if revision is not None and row.revision != revision:
        raise Outdated(
            _("Somebody else has changed this meanwhile (revision %(now)d). Look again.")
            % {"now": row.revision},
            field="revision",
        )


def clean(row: Any) -> None:
    """Validate a row's own columns. Raises InvalidInput naming the first that is wrong."""
    skipped = {field.name for field in row._meta.concrete_fields if field.is_relation}
    try:
        row.clean_fields(exclude=skipped)
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidInput(" ".join(messages), field=field) from None
