"""What the tests of admission share: callers made by hand, a clock of Valkey that can be set, money in PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import msgspec
import redis.asyncio
from django.db import connection, transaction

from core.valkey import async_client
from inference.admission import port
from inference.admission.bounds import Bounds
from inference.admission.client import Admission, Admitted, Asking
from inference.admission.keys import TenantKeys
from inference.admission.loader import AsyncScripts
from inference.admission.rules import PlanTerms, Policy
from models_registry.selectors import Route
from tests import database

CLOCK_KEY = "test:clock"
# As TIME answers, out of a hash that the test sets.
SET_CLOCK = f"redis.call('HMGET', '{CLOCK_KEY}', 's', 'us')"
MODEL = uuid4()


@dataclass(frozen=True)
class Price:
    """A price in nano per token, whole."""

    id: str = "price-1"
    token_nano: int = 1


@dataclass(frozen=True)
class Terms:
    """One price for everything."""

    charged: bool = True
    currency: str = "CNY"
    prices: dict[str, Any] = field(default_factory=lambda: {"*": Price()})


@dataclass(frozen=True)
class Grant:
    """A slice."""

    id: str
    amount_nano: int
    currency: str = "CNY"


class PostgresTreasury:
    """A ledger of one table: what a tenant can still spend, and what was granted to whom. Real row locks."""

    def __init__(self, slice_nano: int = 0) -> None:
        self.slice_nano = slice_nano
        with database.as_owner() as owner:
            owner.execute("DROP TABLE IF EXISTS treasury_test_wallet, treasury_test_granted")
            owner.execute(
                "CREATE TABLE treasury_test_wallet (tenant uuid PRIMARY KEY, nano bigint CHECK (nano >= 0))"
            )
            owner.execute(
                "CREATE TABLE treasury_test_granted (id text, tenant uuid, epoch text, nano bigint)"
            )
            owner.execute("GRANT ALL ON treasury_test_wallet, treasury_test_granted TO PUBLIC")

    @staticmethod
    def drop() -> None:
        with database.as_owner() as owner:
            owner.execute("DROP TABLE treasury_test_wallet, treasury_test_granted")

    def fill(self, tenant_id: UUID, nano: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO treasury_test_wallet VALUES (%s, %s)", [tenant_id, nano])

    def spendable(self, tenant_id: UUID) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nano FROM treasury_test_wallet WHERE tenant = %s", [tenant_id])
            return cursor.fetchone()[0]

    def terms_for(self, *, tenant_id: UUID) -> Terms:
        return Terms()

    def worst_case_nano(self, price: Any, *, prompt_tokens: int, most_tokens: int, **_: int) -> int:
        return price.token_nano * (prompt_tokens + most_tokens)

    def grant(self, *, tenant_id: UUID, epoch: str, need_nano: int) -> Grant | None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "WITH old AS (SELECT nano FROM treasury_test_wallet WHERE tenant = %(t)s FOR UPDATE)"
                " UPDATE treasury_test_wallet w SET nano = w.nano - LEAST(old.nano, GREATEST(%(n)s, %(s)s))"
                " FROM old WHERE tenant = %(t)s AND old.nano >= %(n)s"
                " RETURNING old.nano - w.nano",
                {"t": tenant_id, "n": need_nano, "s": self.slice_nano},
            )
            row = cursor.fetchone()
            if row is None:
                return None
            grant = Grant(uuid4().hex, int(row[0]))
            cursor.execute(
                "INSERT INTO treasury_test_granted VALUES (%s, %s, %s, %s)",
                [grant.id, tenant_id, epoch, grant.amount_nano],
            )
            return grant

    def give_back(self, *, tenant_id: UUID, epoch: str, amount_nano: int, currency: str = "") -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE treasury_test_wallet SET nano = nano + %s WHERE tenant = %s", [amount_nano, tenant_id]
            )


@contextmanager
def ledger(treasury: Any) -> Iterator[Any]:
    """Plug a treasury in for a while."""
    before = port.treasury()
    port.use(treasury)
    try:
        yield treasury
    finally:
        port.use(before)


def route(model_id: UUID = MODEL, name: str = "sim") -> Route:
    return Route(
        name=name,
        model_id=model_id,
        version_id=uuid.uuid5(model_id, "version"),
        deployment_id=uuid.uuid5(model_id, "deployment"),
        task="chat",
        context_length=1000,
        engine="simulated",
        created=0,
        owned_by="atrium",
        model_name=name,
    )


def policy(
    *limits: tuple[str, int] | tuple[str, int, bool] | tuple[str, int, bool, UUID | None],
    key: str = "",
    terms: Any = port.NO_TERMS,
    plan: PlanTerms | None = None,
) -> Policy:
    """(kind, value[, of the key[, of this model]])."""
    full = tuple(
        (*limit, False, None)[: 2 + 2] if len(limit) == 2 else (*limit, None)[:4] for limit in limits
    )
    return Policy(plan=plan or PlanTerms(), key=key, limits=full, terms=terms)  # type: ignore[arg-type]


class Desk:
    """An Admission on the tests' Valkey, for tenants of its own."""

    def __init__(self, client: redis.asyncio.Redis | None = None, *, clock: bool = False) -> None:
        self.client = client or async_client()
        options = {"clock": SET_CLOCK} if clock else {}
        self.scripts = AsyncScripts(self.client, **options)
        self.admission = Admission(self.client, self.scripts)
        self.tenant = uuid4()

    @property
    def keys(self) -> TenantKeys:
        return TenantKeys(str(self.tenant))

    async def set_clock(self, micros: int) -> None:
        await self.client.hset(CLOCK_KEY, mapping={"s": micros // 1_000_000, "us": micros % 1_000_000})

    async def ask(
        self,
        rules: Policy,
        *,
        tokens: int = 1,
        request_id: str = "",
        to: Route | None = None,
        following: Any = None,
    ) -> Admitted:
        target = to or route()
        return await self.admission.admit(
            Asking(
                request_id=request_id or f"req_{uuid4().hex}",
                tenant_id=self.tenant,
                policy=rules,
                route=target,
                routes={target.name: target},
                bounds=Bounds(prompt_tokens=tokens, most_tokens=0),
            ),
            following,
        )

    async def release(
        self, admitted: Admitted, *, tokens: int = 0, charge: int = 0, gpu_us: int = 0, how: int = 0
    ) -> int:
        item = [admitted.request_id, admitted.epoch, charge, tokens, gpu_us, how]
        return int(await self.scripts.call("release", self.keys, [item]))

    async def escrow(self) -> int:
        return int(await self.client.hget(self.keys.money, "escrow:CNY") or 0)

    async def in_flight(self, scope: str = "t", *, at_ms: int = 0) -> int:
        """Slots that are taken; with `at_ms` those only whose time has not passed then."""
        return int(await self.client.zcount(self.keys.prefix + "live:" + scope, f"({at_ms}", "+inf"))

    async def bucket(self, field_name: str) -> list[Any]:
        raw = await self.client.hget(self.keys.rates, field_name)
        return msgspec.msgpack.decode(raw) if raw else []

    async def month(self, month: str, scope: str = "t") -> list[int]:
        raw = await self.client.hget(self.keys.months, f"{month}|{scope}")
        return [int(part) for part in raw.decode().split("|")[:4]] if raw else []

    async def close(self) -> None:
        await self.client.aclose()
