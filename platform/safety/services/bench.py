"""The test bench: what rules would do with a text, before they are published. Writes nothing, keeps no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from access import policies as access
from core.actors import Actor
from core.errors import Conflict, InvalidInput
from safety import selectors, snapshots
from safety.errors import BrokenVersion
from safety.owners import PLATFORM, Owner
from safety.policies import overrides_for
from safety.services import compiling, versions
from safety.spec import Direction, RuleSet, Verdict

MAX_TEXT = 50_000  # characters


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a text: what would be left of it, and which rule said what. After a refusal nothing is left."""

    text: str
    refused: Verdict | None
    verdicts: tuple[Verdict, ...]
    versions: dict[str, int]  # rule set → version; 0 is the draft, or that nothing is published


def try_text(
    *, owner: Owner, actor: Actor, text: str, direction: Direction, version: int | None = None
) -> Tried:
    """Put a text through the draft, or through published `version`, as a request would go.

    A tenant's text passes the platform's rules in force as well, with the tenant's changes to them. Raises NotAllowed,
    NotFound, InvalidInput, RuleRefused. Compiles what it did not compile lately: seconds for 100,000 words.
    """
    access.require(actor, owner.permission("rule.try"))
    _check_length(text)
    own = versions.draft(owner) if version is None else _stored(owner, version)
    return _pass(owner, own, text, direction)


def compare(*, owner: Owner, actor: Actor, text: str, direction: Direction) -> dict[str, Any]:
    """The draft beside what is in force: which rules differ, and what both do with a text.

    Raises and costs as `try_text`, twice.
    """
    access.require(actor, owner.permission("rule.try"))
    _check_length(text)
    head = selectors.head_of(owner)
    before, after = _stored(owner, head.version), versions.draft(owner)
    published, draft = (_pass(owner, rules, text, direction) for rules in (before, after))
    return {
        "changes": snapshots.differences(before, after),
        "published": published,
        "draft": draft,
        "is_same": (published.text, _essence(published)) == (draft.text, _essence(draft)),
    }


def _essence(tried: Tried) -> list[tuple[Any, ...]]:
    """The verdicts without the numbers of versions, which always differ."""
    return sorted((each.rule, each.action, each.start, each.end) for each in tried.verdicts)


def _pass(owner: Owner, own: RuleSet, text: str, direction: Direction) -> Tried:
    from safety.compiled import Guard

    sets = [own]
    overrides = {}
    if owner.tenant_id is not None:
        platform = _stored(PLATFORM, selectors.head_of(PLATFORM).version)
        wanted = {row.rule: (row.action_in, row.action_out) for row in selectors.overrides()}
        overrides = overrides_for(platform, selectors.controls_in_force(), wanted)
        sets = [platform, own]
    guard = Guard([compiling.compiled_again(each) for each in sets], overrides)
    checked = guard.check(text, direction)
    return Tried(
        text="" if checked.refused is not None else checked.text,
        refused=checked.refused,
        verdicts=tuple(checked.verdicts),
        versions={each.id: each.version for each in sets},
    )


def _stored(owner: Owner, version: int) -> RuleSet:
    try:
        return selectors.rule_set_of(owner, version)
    except BrokenVersion:
        raise Conflict(_("The stored version is damaged and cannot be used."), code="broken") from None


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            _("The text is longer than %(limit)d characters.") % {"limit": MAX_TEXT}, field="text"
        )
