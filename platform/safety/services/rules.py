"""Rules of a draft: made, changed and removed. Nothing is in force before it is published (`versions`)."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from access import policies as access
from audit import services as audit
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from safety import policies, snapshots
from safety.models import RuleAction, RuleKind
from safety.owners import Owner, owner_of
from safety.services import compiling
from safety.services.heads import clean, locked, locked_head, require_revision, touch_draft
from safety.spec import RuleSet
from safety.terms import clean_terms

_FIELDS = (
    *("name", "kind", "category", "severity", "is_enabled", "action_in", "action_out", "terms"),
    *("whole_words", "pattern", "entity", "threshold", "replacement"),
)
_PLATFORM_FIELDS = ("tenant_controlled", "loosest_in", "loosest_out")


@transaction.atomic
def create(*, owner: Owner, actor: Actor, reason: str = "", **fields: Any) -> Any:
    """A new rule of `owner`'s draft. Of a rule with a word list, category and severity default to the list's.

    Raises NotAllowed, InvalidInput, Conflict. Compiles the rule, without its list's words: some milliseconds.
    """
    access.require(actor, owner.permission("rule.change"))
    head = locked_head(owner)
    if owner.rules.objects.filter(**owner.mine).count() >= policies.MAX_RULES:
        raise Conflict(_("There are %(limit)d rules already.") % {"limit": policies.MAX_RULES})
    word_list = fields.get("word_list")
    if word_list is not None:
        fields.setdefault("category", word_list.category)
        fields.setdefault("severity", word_list.severity)
    rule = owner.rules(**owner.mine, **fields)
    _check(owner, rule)
    _save(rule, force_insert=True)
    touch_draft(head)
    audit.record(
        owner.verb("rule.created"),
        actor=actor,
        target=rule,
        tenant_id=owner.tenant_id,
        reason=reason,
        after=_shown(rule),
    )
    return rule


@transaction.atomic
def change(*, rule: Any, actor: Actor, revision: int | None = None, reason: str = "", **fields: Any) -> Any:
    """Change a rule of the draft. `revision` is the one that the caller saw.

    Raises NotAllowed, InvalidInput, Outdated, Conflict, NotFound.
    """
    owner = owner_of(rule)
    access.require(actor, owner.permission("rule.change"))
    head = locked_head(owner)
    row = locked(rule)
    require_revision(row, revision)
    before = _shown(row)
    for name, value in fields.items():
        setattr(row, name, value)
    _check(owner, row)
    after = _shown(row)
    if after == before:
        return row
    row.revision += 1
    _save(row)
    touch_draft(head)
    changed = {name for name in after if after[name] != before[name]}
    audit.record(
        owner.verb("rule.changed"),
        actor=actor,
        target=row,
        tenant_id=owner.tenant_id,
        reason=reason,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
    return row


@transaction.atomic
def remove(*, rule: Any, actor: Actor, reason: str = "") -> None:
    """Take a rule out of the draft. It stays in force until the next publication. Raises NotAllowed, NotFound."""
    owner = owner_of(rule)
    access.require(actor, owner.permission("rule.change"))
    head = locked_head(owner)
    row = locked(rule)
    audit.record(
        owner.verb("rule.removed"),
        actor=actor,
        target=row,
        tenant_id=owner.tenant_id,
        reason=reason,
        before=_shown(row),
    )
    row.delete()
    touch_draft(head)


def _check(owner: Owner, rule: Any) -> None:
    """Raise InvalidInput, beside the field, unless the rule can be published as it stands."""
    if not isinstance(rule.terms, list) or not all(isinstance(term, str) for term in rule.terms):
        raise InvalidInput(_("Give a list of words."), field="terms")
    rule.terms = list(clean_terms(rule.terms, field="terms", limit=policies.MAX_OWN_TERMS))
    if owner.is_platform and not rule.key:
        rule.key = rule.public_id.lower()
    clean(rule)
    policies.check_rule(
        {name: getattr(rule, name) for name in _FIELDS}, has_list=rule.word_list_id is not None
    )
    if owner.is_platform and not rule.tenant_controlled:
        rule.loosest_in = rule.loosest_out = RuleAction.OFF
    if rule.word_list_id is not None and not owner.is_platform and rule.word_list.tenant_id != rule.tenant_id:
        raise InvalidInput(_("There is no such object."), field="word_list")
    if rule.kind == RuleKind.PATTERN and rule.is_enabled:
        others = owner.rules.objects.filter(kind=RuleKind.PATTERN, is_enabled=True, **owner.mine)
        if others.exclude(pk=rule.pk).count() >= policies.MAX_PATTERNS:
            raise Conflict(
                _("There are %(limit)d regular expressions already.") % {"limit": policies.MAX_PATTERNS}
            )
    if rule.kind != RuleKind.TERMS or rule.terms:
        compiling.compiled(RuleSet(id=owner.set_id, version=0, rules=(snapshots.rule_of(rule),)))


def _save(rule: Any, **how: Any) -> None:
    try:
        with transaction.atomic():
            rule.save(**how)
    except IntegrityError as error:
        if "safety_rule_name_once" in str(error):
            raise Conflict(_("There is a rule of this name already."), field="name") from None
        if "safety_platformrule_key" in str(error):
            raise Conflict(_("There is a rule of this key already."), field="key") from None
        raise


def _shown(rule: Any) -> dict[str, Any]:
    """For the trail. Patterns and words are shown: they are rules, not anybody's text."""
    names = (*_FIELDS, *(_PLATFORM_FIELDS if hasattr(rule, "key") else ()))
    shown = {name: getattr(rule, name) for name in names}
    shown["terms"] = len(rule.terms)
    shown["first_terms"] = ", ".join(rule.terms[:20])
    shown["word_list"] = rule.word_list.public_id if rule.word_list_id else None
    return shown
