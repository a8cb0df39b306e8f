"""Bringing the built-in rules in: at the first start in force, later ones into the draft for operators to publish."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from core.actors import system
from safety import builtin
from safety.models import PlatformRule, PlatformWordList
from safety.owners import PLATFORM
from safety.services import rules, versions, word_lists
from safety.services.heads import locked_head

ACTOR = system("safety")


@transaction.atomic
def seed() -> list[str]:
    """Add the built-in rules that are newer than what was brought in before; says what it did, in lines.

    Idempotent. What operators changed or removed stays so. Published by itself only where nothing was published yet:
    a platform that runs gets no new rule that refuses requests without somebody's decision. About a second the first
    time.
    """
    from safety.pii import RECOGNISERS

    head = locked_head(PLATFORM)
    if head.builtin_revision >= builtin.REVISION:
        return []
    new = [rule for rule in builtin.rules(RECOGNISERS) if rule.since > head.builtin_revision]
    there = set(PlatformRule.objects.values_list("key", flat=True))
    added = [rule for rule in new if rule.key not in there]
    for rule in added:
        fields = dict(rule.fields)
        if rule.terms:
            fields["word_list"] = _list(rule)
        rules.create(owner=PLATFORM, actor=ACTOR, key=rule.key, is_builtin=True, **fields)
    head.refresh_from_db()
    head.builtin_revision = builtin.REVISION
    head.save(update_fields=["builtin_revision", "updated_at"])
    if head.version == 0:
        versions.publish(owner=PLATFORM, actor=ACTOR, note="built-in rules")
        return [_("%(count)d built-in safety rules are in force.") % {"count": len(added)}]
    return [_("%(count)d new built-in safety rules wait to be published.") % {"count": len(added)}]


def _list(rule: builtin.BuiltinRule) -> PlatformWordList:
    found = PlatformWordList.objects.filter(name=rule.key).first()
    if found is not None:
        return found
    made: PlatformWordList = word_lists.create(
        owner=PLATFORM,
        actor=ACTOR,
        name=rule.key,
        category=rule.fields["category"],
        severity=rule.fields["severity"],
        terms=rule.terms,
    )
    return made
