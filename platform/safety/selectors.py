"""Reads. Whether the reader may is the caller's question (`access.policies`); rows are those in scope."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from core.errors import NotFound
from core.ids import parse_public_id
from safety import policies, snapshots
from safety.models import (
    Disclaimer,
    HitCount,
    Override,
    PlatformRule,
    PlatformRuleSetVersion,
    PlatformWordList,
    Review,
    Rule,
    RuleSetVersion,
    TenantSafety,
    WordList,
)
from safety.owners import PLATFORM, Owner
from safety.policies import Wanted
from safety.spec import RuleSet


def rules() -> QuerySet[Rule]:
    """Drafts of rules in scope."""
    return Rule.objects.select_related("word_list")


def platform_rules() -> QuerySet[PlatformRule]:
    """Drafts of the platform's rules."""
    return PlatformRule.objects.select_related("word_list")


def word_lists() -> QuerySet[WordList]:
    """Word lists in scope, without their words."""
    return WordList.objects.defer("content")


def platform_word_lists() -> QuerySet[PlatformWordList]:
    """The platform's word lists, without their words."""
    return PlatformWordList.objects.defer("content")


def versions() -> QuerySet[RuleSetVersion]:
    """Published versions in scope, without their content."""
    return RuleSetVersion.objects.defer("content")


def platform_versions() -> QuerySet[PlatformRuleSetVersion]:
    """The platform's published versions, without their content."""
    return PlatformRuleSetVersion.objects.defer("content")


def overrides() -> QuerySet[Override]:
    """What tenants in scope changed of the platform's rules."""
    return Override.objects.all()


def disclaimers() -> QuerySet[Disclaimer]:
    """Disclaimers in scope."""
    return Disclaimer.objects.all()


def reviews() -> QuerySet[Review]:
    """Reviews in scope, without their texts."""
    return Review.objects.defer("text_cipher")


def hits() -> QuerySet[HitCount]:
    """Counts of hits in scope."""
    return HitCount.objects.all()


def settings_of(tenant_id: UUID) -> TenantSafety:
    """A tenant's settings; the defaults, unsaved, where it never changed any."""
    found = TenantSafety.objects.filter(tenant_id=tenant_id).first()
    return found or TenantSafety(tenant_id=tenant_id)


def head_of(owner: Owner) -> Any:
    """The row that says which version of `owner` is in force; an unsaved one before the first change."""
    found = owner.heads.objects.filter(**owner.mine).first()
    return found or owner.heads(**owner.mine)


def word_list_by_public_id(*, public_id: str) -> WordList:
    """A word list in scope. Raises NotFound, for another tenant's too."""
    return _by_public_id(word_lists(), WordList.id_prefix, public_id)


def platform_word_list_by_public_id(*, public_id: str) -> PlatformWordList:
    """A word list of the platform. Raises NotFound."""
    return _by_public_id(platform_word_lists(), PlatformWordList.id_prefix, public_id)


def version_by_number(owner: Owner, number: int) -> Any:
    """A published version. Raises NotFound."""
    found = owner.versions.objects.filter(number=number, **owner.mine).first()
    if found is None:
        raise NotFound(_("There is no such version."))
    return found


def rule_set_of(owner: Owner, number: int) -> RuleSet:
    """The rules of a published version; of version 0 none. Raises NotFound and BrokenVersion."""
    if number == 0:
        return RuleSet(id=owner.set_id, version=0)
    row = version_by_number(owner, number)
    return snapshots.decode(row.content, row.digest)


def published(owner: Owner) -> RuleSet:
    """The rules that are in force. Raises BrokenVersion."""
    return rule_set_of(owner, head_of(owner).version)


def controls_in_force() -> dict[str, Wanted]:
    """What tenants may loosen, by rule, as the platform published it."""
    number = head_of(PLATFORM).version
    row = PlatformRuleSetVersion.objects.filter(number=number).only("controls").first()
    return controls_of(row.controls) if row is not None else {}


def controls_of(stored: dict[str, Any]) -> dict[str, Wanted]:
    """The column's form as pairs."""
    return {rule: (str(pair[0]), str(pair[1])) for rule, pair in stored.items()}


def overview(tenant_id: UUID) -> dict[str, Any]:
    """How a tenant's safety stands."""
    head = settings_of(tenant_id)
    return {
        "version": head.version,
        "draft_revision": head.draft_revision,
        "platform_version": head_of(PLATFORM).version,
        "on_failure": head.on_failure,
        "language": head.language,
        "refusal_message": head.refusal_message,
        "plants_canaries": head.plants_canaries,
        "spotlights": head.spotlights,
        "revision": head.revision,
    }


def effective_rules() -> list[dict[str, Any]]:
    """The platform's rules in force as they hold for the active tenant, in the order of the set. Five queries."""
    wanted = {row.rule: (row.action_in, row.action_out) for row in overrides()}
    names = {row.key: row.shown_name for row in PlatformRule.objects.all()}
    controls = controls_in_force()
    found = []
    for rule in published(PLATFORM).rules:
        control = controls.get(rule.id)
        actions = policies.effective(rule, control, wanted.get(rule.id, ("", "")))
        own = (rule.action_in, rule.action_out)
        mildest = [policies.floor(own[index], control[index] if control else None) for index in (0, 1)]
        found.append(
            {
                "rule": rule.id,
                "name": names.get(rule.id, rule.id),
                "kind": rule.kind,
                "category": rule.category,
                "severity": rule.severity,
                "platform_in": policies.word_of(own[0]),
                "platform_out": policies.word_of(own[1]),
                "action_in": policies.word_of(actions[0]),
                "action_out": policies.word_of(actions[1]),
                "mildest_in": policies.word_of(mildest[0]),
                "mildest_out": policies.word_of(mildest[1]),
            }
        )
    return found


def _by_public_id(rows: QuerySet[Any], prefix: str, public_id: str) -> Any:
    try:
        found = rows.filter(pk=parse_public_id(public_id, prefix)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(_("There is no such object."))
    return found
