"""Word lists: made, filled from files, added to and taken from. In force with the next publication of rules that use
them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import RestrictedError
from django.utils.translation import gettext as _

from access import policies as access
from audit import services as audit
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from safety import terms as words
from safety.owners import Owner, owner_of
from safety.services.heads import clean, locked, locked_head, require_revision, touch_draft

MAX_LISTS = 200
_FIELDS = ("name", "category", "severity")


@transaction.atomic
def create(*, owner: Owner, actor: Actor, terms: Iterable[str] = (), reason: str = "", **fields: Any) -> Any:
    """A new word list. Raises NotAllowed, InvalidInput, Conflict."""
    access.require(actor, owner.permission("rule.change"))
    head = locked_head(owner)
    if owner.lists.objects.filter(**owner.mine).count() >= MAX_LISTS:
        raise Conflict(_("There are %(limit)d word lists already.") % {"limit": MAX_LISTS})
    row = owner.lists(**owner.mine, **fields)
    _put(row, words.clean_terms(terms, field="terms"))
    clean(row)
    _save(row, force_insert=True)
    touch_draft(head)
    _record("created", row, actor, reason, after=_shown(row))
    return row


@transaction.atomic
def change(
    *, word_list: Any, actor: Actor, revision: int | None = None, reason: str = "", **fields: Any
) -> Any:
    """Another name, category or severity. Raises NotAllowed, InvalidInput, Outdated, Conflict, NotFound."""
    owner = owner_of(word_list)
    access.require(actor, owner.permission("rule.change"))
    locked_head(owner)
    row = locked(word_list)
    require_revision(row, revision)
    before = _shown(row)
    for name, value in fields.items():
        setattr(row, name, value)
    clean(row)
    if _shown(row) == before:
        return row
    row.revision += 1
    _save(row)
    _record("changed", row, actor, reason, before=before, after=_shown(row))
    return row


@transaction.atomic
def replace_terms(
    *, word_list: Any, actor: Actor, terms: Iterable[str], revision: int | None = None, reason: str = ""
) -> Any:
    """Put cleaned words (`safety.terms`) in the place of all others. Raises NotAllowed, Outdated, NotFound."""
    return _rewrite(word_list, actor, revision, reason, lambda _before: set(terms))


@transaction.atomic
def change_terms(
    *, word_list: Any, actor: Actor, add: Iterable[str] = (), remove: Iterable[str] = (), reason: str = ""
) -> Any:
    """Add and remove words; what is there already, or is not, is no error. Raises NotAllowed, InvalidInput."""
    added = set(words.clean_terms(add, field="add"))
    removed = set(words.clean_terms(remove, field="remove"))
    return _rewrite(word_list, actor, None, reason, lambda before: (before - removed) | added)


@transaction.atomic
def remove(*, word_list: Any, actor: Actor, reason: str = "") -> None:
    """Remove a list that no rule uses. Raises NotAllowed, Conflict, NotFound."""
    owner = owner_of(word_list)
    access.require(actor, owner.permission("rule.change"))
    head = locked_head(owner)
    row = locked(word_list)
    shown = _shown(row)
    try:
        with transaction.atomic():
            _record("removed", row, actor, reason, before=shown)
            row.delete()
    except RestrictedError:
        raise Conflict(_("A rule uses this list. Remove the rule first."), code="in_use") from None
    touch_draft(head)


def _rewrite(row: Any, actor: Actor, revision: int | None, reason: str, change: Any) -> Any:
    owner = owner_of(row)
    access.require(actor, owner.permission("rule.change"))
    head = locked_head(owner)
    found = locked(row)
    require_revision(found, revision)
    before = set(words.unpack(found.content))
    after = change(before)
    if after == before:
        return found
    _put(found, tuple(sorted(after)))
    found.revision += 1
    found.save(update_fields=["content", "term_count", "revision", "updated_at"])
    touch_draft(head)
    _record(
        "refilled",
        found,
        actor,
        reason,
        before={"term_count": len(before)},
        after={"term_count": len(after), "added": len(after - before), "removed": len(before - after)},
    )
    return found


def _put(row: Any, terms: tuple[str, ...]) -> None:
    if len(terms) > words.MAX_TERMS:
        raise InvalidInput(
            _("There may be at most %(limit)d words.") % {"limit": words.MAX_TERMS}, field="terms"
        )
    row.content = words.pack(terms)
    row.term_count = len(terms)


def _save(row: Any, **how: Any) -> None:
    try:
        with transaction.atomic():
            row.save(**how)
    except IntegrityError as error:
        if "list_name_once" in str(error):
            raise Conflict(_("There is a word list of this name already."), field="name") from None
        raise


def _record(what: str, row: Any, actor: Actor, reason: str, **values: Any) -> None:
    owner = owner_of(row)
    audit.record(
        owner.verb(f"word_list.{what}"),
        actor=actor,
        target=row,
        tenant_id=owner.tenant_id,
        reason=reason,
        **values,
    )


def _shown(row: Any) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in _FIELDS}, "term_count": row.term_count}
