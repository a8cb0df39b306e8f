"""`Admission`: one per gateway. Asks Valkey in one round trip whether a request may run, and says why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from core import clock
from core.valkey_link import LinkedClient
from inference.admission import refusals
from inference.admission.bounds import Bounds, gpu_bound_ns, slot_bound_ms
from inference.admission.escrow import Escrow
from inference.admission.keys import TenantKeys
from inference.admission.loader import AsyncScripts, Call, Then
from inference.admission.port import treasury
from inference.admission.rules import MONTHS, RATES, Checks, Policy, bucket_field, record_of
from inference.admission.seeds import Seeds
from inference.errors import Rejected, unavailable
from models_registry.selectors import Route

log = structlog.get_logger(__name__)

# How long a hold and a slot outlive the last word of the process that renews them (law L14: 60 s with the sweep).
TTL_MS = 45_000
# How often one tenant's activity is noted for the sweep.
NOTED_S = 10.0
PATIENCE_S = 8.0
# How long the end of a request that no limit waits for may take to be told; the tenant's next request tells it sooner.
FREED_S = 0.02


@dataclass(slots=True)
class Admitted:
    """A request that may run, and what Valkey holds for it until it is settled."""

    request_id: str
    tenant_id: UUID
    checks: Checks
    record: list[Any]
    epoch: str
    month: str
    price: str
    hold_nano: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    then: Any = None  # what the command said that was sent along, None where none was run

    @property
    def scopes(self) -> list[str]:
        """The scopes that it counts in."""
        return list(self.checks.scopes)


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that wants in."""

    request_id: str
    tenant_id: UUID
    policy: Policy
    route: Route
    routes: Mapping[str, Route]
    bounds: Bounds


# Makes the command that is to run right behind the admission, if it is granted: it is told the hold (nano), the id of
# the price and the epoch. The server runs it in any case; that it looks for the hold first is its own business.
Following = Callable[[int, str, str], Sequence[Any]]


class Admission:
    """Admits, gives back and renews. Every method is safe to run twice for the same request."""

    def __init__(self, client: LinkedClient, scripts: AsyncScripts) -> None:
        self.scripts = scripts
        self._escrow = Escrow(scripts)
        self._seeds = Seeds(scripts, client, ttl_ms=TTL_MS)
        self._keys: dict[str, TenantKeys] = {}
        self._noted: dict[str, float] = {}
        self._to_free: dict[str, list[list[Any]]] = {}

    def _keys_of(self, tenant: str) -> TenantKeys:
        found = self._keys.get(tenant)
        if found is None:
            if len(self._keys) > 50_000:
                self._keys.clear()
            found = self._keys[tenant] = TenantKeys(tenant)
        return found

    def requests_key(self, tenant_id: UUID) -> str:
        """The hash that has a tenant's requests from their admission to their settlement."""
        return self._keys_of(str(tenant_id)).requests

    async def admit(self, asking: Asking, following: Following | None = None) -> Admitted:
        """Let a request in, with everything that it may need held for it: all or nothing.

        The command that `following` makes travels along. One round trip; more only where escrow must be fetched or a
        month's counter seeded. Raises Rejected: 429 with the limit that said no, 503 while Valkey or (for cold money)
        PostgreSQL is away: never unlimited.
        """
        hold, price = self._worst_case(asking)
        checks = asking.policy.checks(asking.route.model_id)
        try:
            return await self._admit(asking, checks, hold, price, following)
        except (RedisError, OSError) as error:
            log.warning("admission.unavailable", error=type(error).__name__, request_id=asking.request_id)
            raise unavailable("Requests cannot be admitted at the moment. Try again shortly.") from error
        except DatabaseError as error:
            log.warning("admission.database_away", error=type(error).__name__, request_id=asking.request_id)
            raise unavailable(
                "Your balance or quota cannot be read at the moment. Try again shortly."
            ) from error

    async def _admit(
        self, asking: Asking, checks: Checks, hold: int, price: str, following: Following | None
    ) -> Admitted:
        currency = asking.policy.terms.currency
        record = record_of(
            checks,
            hold_nano=hold,
            tokens=asking.bounds.tokens,
            deployment=str(asking.route.deployment_id),
            currency=currency,
        )
        wanted = arguments(asking, checks, hold, record)
        name, tenant = asking.route.name, str(asking.tenant_id)
        deadline = clock.monotonic() + PATIENCE_S
        refused_nano: int | None = None
        while clock.monotonic() < deadline:
            since = clock.monotonic()
            epoch_now = self.scripts.epoch
            then = Then(following(hold, price, epoch_now), epoch_now) if following and epoch_now else None
            answer, said = await self._ask(tenant, wanted, then)
            if answer[0] == 1:
                _, month, _, levels, epoch = answer
                record[0] = epoch.decode()
                return Admitted(
                    request_id=asking.request_id,
                    tenant_id=asking.tenant_id,
                    checks=checks,
                    record=record,
                    epoch=epoch.decode(),
                    month=month.decode(),
                    price=price,
                    hold_nano=hold,
                    headers=refusals.rate_headers(checks, levels),
                    then=said,
                )
            if answer[0] == 0:
                raise refusals.refused(
                    checks, answer, model=name, tokens=asking.bounds.tokens, hold_nano=hold
                )
            if answer[0] == 2:
                await self._seed(asking, answer)
                continue
            missing = int(answer[1])
            if refused_nano is not None and missing >= refused_nano:
                raise refusals.no_money(hold, max(0, hold - missing), [])
            if not await self._escrow.fetch(
                asking.tenant_id, currency=currency, need_nano=missing, since=since
            ):
                # Another process may have brought some meanwhile: one more look before the answer is no.
                refused_nano = missing
        raise unavailable("Requests cannot be admitted at the moment. Try again shortly.")

    async def _ask(self, tenant: str, wanted: list[Any], then: Then | None) -> tuple[list[Any], Any]:
        """What the admission says, and what `then` says."""
        keys = self._keys_of(tenant)
        calls: list[Call] = [("admit", keys, wanted)]
        freed = self._to_free.pop(tenant, None)
        if freed:
            # A client that waits for one answer before it sends the next request must find its slot free.
            calls.insert(0, ("free", keys, freed))
        now = clock.monotonic()
        noted = self._noted.get(tenant)
        seen = None
        if noted is None or now - noted > NOTED_S:
            seen = {tenant: float(clock.epoch_ms())}
        try:
            answers = await self.scripts.calls(calls, seen=seen, then=then)
        except BaseException:
            if freed:
                self._to_free.setdefault(tenant, []).extend(freed)
            raise
        if seen:
            if len(self._noted) > 50_000:
                self._noted.clear()
            self._noted[tenant] = now
        return answers[len(calls) - 1], answers[len(calls)] if len(answers) > len(calls) else None

    def _worst_case(self, asking: Asking) -> tuple[int, str]:
        """(hold in nano, id of the price). Raises Rejected for a model that a paying tenant has no price for."""
        if not asking.policy.terms.charged:
            return 0, ""
        price = asking.policy.price(asking.route)
        if price is None:
            raise refusals.not_priced(asking.route.name)
        hold = treasury().worst_case_nano(
            price,
            prompt_tokens=asking.bounds.prompt_tokens,
            most_tokens=asking.bounds.most_tokens,
            gpu_bound_ns=gpu_bound_ns(),
            slot_bound_ms=slot_bound_ms(),
        )
        if not 0 <= hold <= MOST_HOLD_NANO:
            raise Rejected(
                429,
                "insufficient_quota",
                "What this request may cost at most is beyond every balance. Allow fewer tokens.",
                kind="insufficient_quota",
                should_retry=False,
            )
        return hold, price.id

    async def _seed(self, asking: Asking, answer: list[Any]) -> None:
        await self._seeds.seed(
            tenant_id=asking.tenant_id,
            policy=asking.policy,
            model_id=asking.route.model_id,
            routes={route.version_id: route for route in asking.routes.values()},
            month=answer[1].decode(),
            scope=answer[2].decode(),
        )

    # --- Giving back

    def ended(self, admitted: Admitted) -> float | None:
        """Note that a request runs no longer. Returns in how many seconds `flush` is to send it, None when it will.

        Where slots are limited the next request may need this one at once, perhaps in another process.
        """
        first = not self._to_free
        self._to_free.setdefault(str(admitted.tenant_id), []).append(
            [admitted.request_id, list(admitted.scopes)]
        )
        if admitted.checks.concurrency:
            return 0.0
        return FREED_S if first else None

    async def flush(self) -> None:
        """Free the slots of requests that have ended. Should Valkey be away they expire by themselves."""
        freed, self._to_free = self._to_free, {}
        calls: list[Call] = [("free", self._keys_of(tenant), each) for tenant, each in freed.items()]
        if calls:
            try:
                await self.scripts.calls(calls)
            except (RedisError, OSError):
                log.warning("admission.not_freed", requests=sum(map(len, freed.values())))

    async def undo(self, admitted_id: str, tenant_id: UUID) -> None:
        """Give back everything of a request that was admitted and will never run. Raises RedisError."""
        await self.scripts.call("release", self._keys_of(str(tenant_id)), [[admitted_id, "", 0, 0, 0, 1]])

    async def renew(self, alive: list[Admitted]) -> None:
        """Keep the holds and slots of requests that still run, across a restart of Valkey too. Raises RedisError."""
        by_tenant: dict[str, list[list[Any]]] = {}
        for each in alive:
            by_tenant.setdefault(str(each.tenant_id), []).append(
                [each.request_id, each.month, list(each.scopes), each.record, each.epoch]
            )
        now = float(clock.epoch_ms())
        tenants = list(by_tenant)
        for start in range(0, len(tenants), 100):
            part = tenants[start : start + 100]
            calls: list[Call] = [
                ("renew", self._keys_of(tenant), [TTL_MS, by_tenant[tenant]]) for tenant in part
            ]
            await self.scripts.calls(calls, seen=dict.fromkeys(part, now))


# Beyond this, whole numbers are not exact in the scripts.
MOST_HOLD_NANO = 9_000_000_000_000_000


def arguments(asking: Asking, checks: Checks, hold: int, record: list[Any]) -> list[Any]:
    """What `scripts.ADMIT` takes."""
    tokens = asking.bounds.tokens
    place = {scope: index for index, scope in enumerate(checks.scopes, start=1)}
    rates = []
    for rule in checks.rates:
        period, of_tokens = RATES[rule.kind]
        rates.append([bucket_field(rule), rule.value, period, tokens if of_tokens else 1, of_tokens])
    return [
        asking.request_id,
        TTL_MS,
        hold,
        tokens,
        list(checks.scopes),
        rates,
        [[place[rule.scope], rule.value] for rule in checks.concurrency],
        [[place[rule.scope], MONTHS[rule.kind], rule.value] for rule in checks.months],
        record,
    ]
