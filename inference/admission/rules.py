"""What counts for a caller: its tenant's plan, limits and prices, as an immutable part of its snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from inference.admission.port import NO_TERMS, PriceTerms, Terms, treasury
from models_registry.selectors import Route
from tenants.models import Limit, LimitKind, Plan, Tenant
from tenants.selectors import limits_in_force

_SECOND = 1_000_000
# Kind -> (period in µs, whether it counts tokens)
RATES = {
    LimitKind.REQUESTS_PER_SECOND.value: (_SECOND, False),
    LimitKind.REQUESTS_PER_MINUTE.value: (60 * _SECOND, False),
    LimitKind.REQUESTS_PER_DAY.value: (86_400 * _SECOND, False),
    LimitKind.TOKENS_PER_MINUTE.value: (60 * _SECOND, True),
    LimitKind.TOKENS_PER_DAY.value: (86_400 * _SECOND, True),
}
# Kind -> which of a month's counters, from 1 as Lua has it
MONTHS = {
    LimitKind.MONTHLY_CALLS.value: 1,
    LimitKind.MONTHLY_TOKENS.value: 2,
    LimitKind.MONTHLY_GPU_SECONDS.value: 3,
    LimitKind.MONTHLY_MONEY_NANO.value: 4,
}
ALL = "t"


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What the tenant's plan entitles it to; the defaults are those of a tenant without one."""

    weight: float = 1.0
    band: int = 0
    queue_limit: int | None = None
    allow_priority: bool = False

    @classmethod
    def of(cls, plan: Plan | None) -> PlanTerms:
        """From the row."""
        if plan is None:
            return cls()
        return cls(float(plan.weight), plan.band, plan.queue_limit, plan.allow_priority)


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit as it meets a request: `scope` names its counters, `reach` says to people what it covers."""

    kind: str
    value: int
    scope: str
    reach: str  # tenant, key, model, key and model


@dataclass(frozen=True, slots=True)
class Checks:
    """All that one caller's request to one model is checked against, ready for the script.

    `scopes` is every scope that the request counts in, limited or not; the other lists follow `scripts.ADMIT`.
    """

    scopes: tuple[str, ...]
    rates: tuple[Rule, ...]
    concurrency: tuple[Rule, ...]
    months: tuple[Rule, ...]
    counts_tokens: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """Plan, limits and prices of one caller. `key` is the first key of the caller's line of rotated keys, or ""."""

    plan: PlanTerms = PlanTerms()
    key: str = ""
    keys: tuple[UUID, ...] = ()  # the whole line
    limits: tuple[tuple[str, int, bool, UUID | None], ...] = ()  # kind, value, of this key, of this model
    terms: Terms = NO_TERMS
    _checks: dict[UUID, Checks] = field(default_factory=dict, compare=False)

    def checks(self, model_id: UUID) -> Checks:
        """What a request to a model is checked against; worked out once."""
        found = self._checks.get(model_id)
        if found is None:
            found = self._checks[model_id] = self._compile(model_id)
        return found

    def _compile(self, model_id: UUID) -> Checks:
        scopes = {(False, False): ALL, (False, True): f"m{model_id.hex}"}
        if self.key:
            scopes |= {(True, False): f"k{self.key}", (True, True): f"k{self.key}m{model_id.hex}"}
        reaches = {
            (False, False): "tenant",
            (True, False): "key",
            (False, True): "model",
            (True, True): "key and model",
        }
        lowest: dict[tuple[str, str], Rule] = {}
        for kind, value, of_key, model in self.limits:
            if model not in (None, model_id) or (of_key and not self.key):
                continue
            at = (of_key, model is not None)
            rule = Rule(kind, value, scopes[at], reaches[at])
            before = lowest.get((kind, rule.scope))
            if before is None or value < before.value:
                lowest[kind, rule.scope] = rule
        rules = list(lowest.values())
        return Checks(
            scopes=tuple(scopes.values()),
            rates=tuple(rule for rule in rules if rule.kind in RATES),
            concurrency=tuple(rule for rule in rules if rule.kind == LimitKind.CONCURRENT_REQUESTS),
            months=tuple(rule for rule in rules if rule.kind in MONTHS),
            counts_tokens=any(
                (rule.kind in RATES and RATES[rule.kind][1]) or rule.kind == LimitKind.MONTHLY_TOKENS
                for rule in rules
            ),
        )

    def price(self, route: Route) -> PriceTerms | None:
        """The price of a model: by the name that means it to everybody, then by the name asked for, then `*`.

        The model's own name goes first, so that nobody makes an alias that is cheaper than what it leads to.
        """
        prices: Mapping[str, PriceTerms] = self.terms.prices
        return prices.get(route.model_name) or prices.get(route.name) or prices.get("*")


def model_ids(routes: Mapping[str, Route]) -> dict[str, UUID]:
    """Public names to models. A model's own name goes before an alias of that name, which would hide it."""
    found = {name: route.model_id for name, route in routes.items()}
    return found | {route.model_name: route.model_id for route in routes.values() if route.model_name}


def policy_for(
    *, tenant: Tenant, routes: Mapping[str, Route], keys: Iterable[UUID] = (), terms: Terms | None = None
) -> Policy:
    """The policy of a caller, inside the tenant's scope: one query for the limits, and the ledger's own.

    `keys` is the line of rotated keys that the caller's is one of, oldest first; none for a member. Limits on any
    of them count, and all share their counters: rotating a key gives no new allowance.
    """
    line = tuple(keys)
    names = model_ids(routes)
    limits: list[tuple[str, int, bool, UUID | None]] = []
    row: Limit
    for row in limits_in_force():
        if row.key_id is not None and row.key_id not in line:
            continue
        if row.model and row.model not in names:
            continue  # nobody can call it
        limits.append((row.kind, row.value, row.key_id is not None, names[row.model] if row.model else None))
    return Policy(
        plan=PlanTerms.of(tenant.plan),
        key=line[0].hex if line else "",
        keys=line,
        limits=tuple(limits),
        terms=treasury().terms_for(tenant_id=tenant.pk) if terms is None else terms,
    )


def record_of(
    checks: Checks, *, hold_nano: int, tokens: int, deployment: str, currency: str = "", epoch: str = ""
) -> list[Any]:
    """What Valkey keeps of an admitted request until it is settled; see `scripts`. ADMIT fills in the epoch."""
    buckets: tuple[list[Any], list[Any]] = ([], [])
    for rule in checks.rates:
        period, of_tokens = RATES[rule.kind]
        buckets[of_tokens].append([bucket_field(rule), rule.value, period])
    return [epoch, hold_nano, tokens, list(checks.scopes), buckets[0], buckets[1], deployment, currency]


def bucket_field(rule: Rule) -> str:
    """The bucket of a rate: one per scope and kind, whoever set the limit."""
    return f"{rule.scope}|{rule.kind}"
