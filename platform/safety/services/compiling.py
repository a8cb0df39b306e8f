"""Rule sets made ready to run. What compiles here compiles in every process: the code is the same."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from safety.errors import RuleRefused
from safety.models import RuleKind
from safety.spec import RuleSet

if TYPE_CHECKING:
    from safety.compiled import Compiled

# Beside which field an error of a kind of rule belongs.
_FIELD = {
    RuleKind.TERMS.value: "terms",
    RuleKind.PATTERN.value: "pattern",
    RuleKind.PII.value: "entity",
    RuleKind.INJECTION.value: "threshold",
    RuleKind.CANARY.value: "kind",
}


def compiled(rule_set: RuleSet) -> Compiled:
    """The set, ready to run. Raises RuleRefused naming the rule that cannot be. Seconds for 100,000 words."""
    # The engine brings automata and RE2 with it, which a process that only shows rules does not need.
    from safety.compiled import InvalidRule, compile_rule_set

    try:
        return compile_rule_set(rule_set)
    except InvalidRule as error:
        name = str(getattr(error, "rule", ""))
        kind = next((rule.kind.value for rule in rule_set.rules if rule.id == name), "")
        message = str(getattr(error, "message", error))
        raise RuleRefused(message, rule=name, field=_FIELD.get(kind, "")) from error


def compiled_again(rule_set: RuleSet) -> Compiled:
    """As `compiled`, for the test bench: the sets that were tried last are kept, so that trying again is quick."""
    return _kept(msgspec.msgpack.encode(rule_set))


@lru_cache(maxsize=2)
def _kept(encoded: bytes) -> Compiled:
    return compiled(msgspec.msgpack.decode(encoded, type=RuleSet))
