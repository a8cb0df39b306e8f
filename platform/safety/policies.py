"""What a rule may say, and how far a tenant may change the platform's. Pure; asks no database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from core.errors import InvalidInput
from safety.errors import TooLoose
from safety.models import RuleAction, RuleKind
from safety.spec import Action, Rule, RuleSet

MAX_RULES = 1_000  # of one owner
MAX_PATTERNS = 300  # of one owner: each is an automaton of its own
MAX_OWN_TERMS = 1_000  # of one rule, beside its list
MAX_SET_TERMS = 200_000  # of all rules of one owner together

# (in, out): what a rule does with texts of each direction; none: it is not looked at there.
Actions = tuple[Action | None, Action | None]
# What a tenant wrote for one rule, by direction; "" leaves it as it is.
Wanted = tuple[str, str]

_REFUSING_OR_FLAG = frozenset({RuleAction.OFF, RuleAction.FLAG, RuleAction.REVIEW, RuleAction.BLOCK})


def action_of(word: str) -> Action | None:
    """The engine's action for a column's word; none for "off"."""
    return None if word == RuleAction.OFF else Action(word)


def word_of(action: Action | None) -> str:
    """The column's word for an action."""
    return RuleAction.OFF.value if action is None else action.value


def strictness(action: Action | None) -> int:
    """-1 for a direction that is not looked at, else the action's own."""
    return -1 if action is None else action.strictness


def check_actions(kind: str, action_in: str, action_out: str) -> None:
    """Raise InvalidInput when a rule of `kind` cannot do this."""
    if kind == RuleKind.INJECTION:
        if action_in not in _REFUSING_OR_FLAG:
            raise InvalidInput(_("An injection can be recorded or refused, nothing else."), field="action_in")
        if action_out != RuleAction.OFF:
            raise InvalidInput(
                _("Injections are looked for on the way to the model only."), field="action_out"
            )
    if kind == RuleKind.CANARY and action_in != RuleAction.OFF:
        raise InvalidInput(
            _("Planted tokens are looked for on the way from the model only."), field="action_in"
        )


def check_rule(fields: Mapping[str, Any], *, has_list: bool) -> None:
    """Raise InvalidInput, beside the field, unless the rule makes sense as a whole."""
    kind = fields["kind"]
    needed = {
        RuleKind.PATTERN.value: ("pattern", _("Give a regular expression.")),
        RuleKind.PII.value: ("entity", _("Name the kind of personal data.")),
        RuleKind.INJECTION.value: ("threshold", _("Give a threshold from 1 to 100.")),
    }.get(kind)
    if needed is not None and not fields[needed[0]]:
        raise InvalidInput(needed[1], field=needed[0])
    if kind == RuleKind.TERMS and not fields["terms"] and not has_list:
        raise InvalidInput(_("Give words, or name a word list."), field="terms")
    foreign = {
        "terms": RuleKind.TERMS.value,
        "pattern": RuleKind.PATTERN.value,
        "entity": RuleKind.PII.value,
        "threshold": RuleKind.INJECTION.value,
    }
    for name, owner in foreign.items():
        if fields[name] and kind != owner:
            raise InvalidInput(_("A rule of this kind has no such field."), field=name)
    if has_list and kind != RuleKind.TERMS:
        raise InvalidInput(_("A rule of this kind has no such field."), field="word_list")
    check_actions(kind, fields["action_in"], fields["action_out"])


def floor(own: Action | None, loosest: str | None) -> Action | None:
    """The mildest that a tenant may choose where the platform does `own`; `loosest` none: not controlled by tenants."""
    if loosest is None:
        return own
    allowed = action_of(loosest)
    return allowed if strictness(allowed) < strictness(own) else own


def effective(rule: Rule, control: Wanted | None, wanted: Wanted) -> Actions:
    """What the platform's `rule` does for a tenant that wants `wanted`: never milder than it may be.

    `control` is what the platform lets tenants loosen to; none where they may not. The platform may have become
    stricter after the tenant chose: then the mildest that is still allowed holds.
    """
    actions: list[Action | None] = []
    for index, own in enumerate((rule.action_in, rule.action_out)):
        least = floor(own, control[index] if control else None)
        chosen = own if not wanted[index] else action_of(wanted[index])
        actions.append(chosen if strictness(chosen) >= strictness(least) else least)
    return actions[0], actions[1]


def check_override(rule: Rule, control: Wanted | None, wanted: Wanted) -> None:
    """Raise TooLoose or InvalidInput, beside the field, unless the tenant may have this."""
    for index, (name, own) in enumerate((("action_in", rule.action_in), ("action_out", rule.action_out))):
        if not wanted[index]:
            continue
        least = floor(own, control[index] if control else None)
        if strictness(action_of(wanted[index])) < strictness(least):
            raise TooLoose(
                _("The platform allows nothing milder than “%(action)s” here.")
                % {"action": RuleAction(word_of(least)).label},
                field=name,
            )
    check_actions(
        rule.kind.value, wanted[0] or word_of(rule.action_in), wanted[1] or word_of(rule.action_out)
    )


def overrides_for(
    platform: RuleSet, controls: Mapping[str, Wanted], wanted: Mapping[str, Wanted]
) -> dict[str, Actions]:
    """What the engine is told of a tenant's changes: for each changed rule the whole pair of actions, as allowed."""
    return {
        rule.id: effective(rule, controls.get(rule.id), wanted[rule.id])
        for rule in platform.rules
        if rule.id in wanted
    }
