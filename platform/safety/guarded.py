"""What a tenant's texts pass at one moment: compiled sets, the tenant's changes, and what belongs around answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from safety.policies import Actions
from safety.services import reviews
from safety.spec import Action, Direction

if TYPE_CHECKING:
    from safety.compiled import Checked, Compiled, Guard


@dataclass(frozen=True, slots=True)
class Guarded:
    """Everything that a tenant's texts pass, as it was at one moment. Shared by all requests and threads.

    `guard` none: nothing could be loaded; `is_closed` then says whether requests are refused or pass unchecked.
    """

    tenant_id: UUID
    guard: Guard | None
    is_closed: bool
    on_failure: str
    versions: Mapping[str, int]  # rule set → version that is in force here
    failed: tuple[str, ...]  # rule sets that are missing, or older than they should be
    sets: tuple[Compiled, ...]
    overrides: Mapping[str, Actions]
    disclaimers: Mapping[str, tuple[str, str]]  # model, or "" for all others → (before, after)
    language: str  # of refusals; "" is the platform's
    refusal_message: str
    plants_canaries: bool  # into system prompts
    spotlights: bool  # results of tools are marked as data
    approved: frozenset[tuple[str, str]]  # (direction, digest) of texts that a person let pass

    def guard_for(self, canaries: Sequence[str]) -> Guard | None:
        """The guard of a request in whose system prompt `canaries` were planted."""
        if self.guard is None or not canaries:
            return self.guard
        from safety.compiled import Guard

        return Guard(self.sets, dict(self.overrides), canaries)

    def disclaimer(self, model: str) -> tuple[str, str]:
        """What stands before and after an answer of the model of this public name."""
        return self.disclaimers.get(model) or self.disclaimers.get("", ("", ""))

    def is_approved(self, text: str, direction: Direction) -> bool:
        """Whether a person has let this very text pass. An HMAC where anything was approved at all."""
        if not self.approved:
            return False
        return (direction.value, reviews.digest_of(self.tenant_id, text)) in self.approved

    def check(
        self, text: str, direction: Direction, *, untrusted: bool = False, scored: bool = True
    ) -> Checked:
        """Check a whole text: refused for review only where nobody has approved it yet. The rest is as for `Guard`.

        Raises CheckerFailed; `GuardSource.failed` says what then becomes of the request. Raises RuntimeError
        without a guard.
        """
        if self.guard is None:
            raise RuntimeError("nothing is loaded: ask is_closed first")
        checked = self.guard.check(text, direction, untrusted=untrusted, scored=scored)
        refused = checked.refused
        if refused is None or refused.action is not Action.REVIEW or not self.is_approved(text, direction):
            return checked
        return self.lenient().check(text, direction, untrusted=untrusted, scored=scored)

    def lenient(self) -> Guard:
        """The guard with reviews recorded only. Made for each approved text that comes again."""
        from safety.compiled import Guard

        overrides = dict(self.overrides)
        for compiled in self.sets:
            for rule in compiled.rule_set.rules:
                now = overrides.get(rule.id, (rule.action_in, rule.action_out))
                milder = tuple(Action.FLAG if action is Action.REVIEW else action for action in now)
                if milder != now:
                    overrides[rule.id] = (milder[0], milder[1])
        return Guard(self.sets, overrides)
