"""Settling usage: each request is charged what it used, once, out of what was held for it (L10, L11).

Records arrive late, twice, out of order and by more than one party. Whatever comes, a request's first settlement
takes its charge from the escrow of its epoch; where a better record of it comes later, the difference goes to or
from the wallet, because Valkey has been told by then what the hold is worth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction

from billing.models import AccountKind, EpochState, EscrowEpoch, Price, TransactionKind
from billing.money import MAX_NANO
from billing.rating import RateCard, Units, units_of_record
from billing.services import ledger, usage
from billing.services.counters import CounterKey, Counters
from core.actors import system
from core.scoping import tenant_scope

log = structlog.get_logger(__name__)

ACTOR = system("settlement")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settled:
    """One request, settled: what Valkey is to be told about its hold.

    `charge_nano` is what the hold paid: hold - charge goes back to the epoch's escrow. It stays the same however
    often the request is settled. `tokens` and `gpu_ns` are what the request really used.
    """

    request_id: str
    tenant_id: UUID
    epoch: str
    hold_nano: int
    charge_nano: int
    tokens: int
    gpu_ns: int


@dataclass(frozen=True, slots=True)
class _Tariff:
    """What a pinned price means for settlement."""

    plan_id: UUID
    model: str
    currency: str
    card: RateCard


class _Tariffs:
    """Pinned prices by id, of all tenants in a batch: prices are the platform's own, and never change."""

    def __init__(self) -> None:
        self._known: dict[str, _Tariff | None] = {}

    def load(self, rows: Iterable[Row]) -> None:
        """Read what is not known yet. One query, none when there is nothing to read."""
        missing = {row["price_id"] for row in rows if row["price_id"]} - self._known.keys()
        if not missing:
            return
        self._known.update(dict.fromkeys(missing))
        for price in Price.objects.filter(pk__in=missing).select_related("version__plan"):
            self._known[str(price.pk)] = _Tariff(
                price.version.plan_id, price.model, price.version.plan.currency, price.card
            )

    def of(self, row: Row) -> _Tariff | None:
        """What a record is charged by; none when by nothing, or by nothing that there is."""
        return self._known.get(row["price_id"]) if row["price_id"] else None


@transaction.atomic
def settle(records: Iterable[Mapping[str, Any]]) -> list[Settled]:
    """Store usage records and charge for them, all in one transaction; what became of each request.

    Records are those of `billing.services.usage.ingest`. Idempotent: any batches, in any order, any number of
    times, leave the same records and the same ledger balances; a request that is settled already is in the answer
    too, for whoever died before telling Valkey. A charge above the hold is an error of ours: it is logged, and
    not collected. About fifteen statements per tenant in the batch.
    """
    settled: list[Settled] = []
    tenants = usage.by_tenant(records)
    tariffs = _Tariffs()
    tariffs.load(row for _tenant_id, rows in tenants for row in rows)
    for tenant_id, rows in tenants:
        with tenant_scope(tenant_id):
            if usage.tenant_exists(tenant_id, rows):
                settled += _Batch(tenant_id, tariffs).run(rows)
    return settled


class _Batch:
    """The records of one tenant, inside its scope."""

    def __init__(self, tenant_id: UUID, tariffs: _Tariffs) -> None:
        self.tenant_id = tenant_id
        self.tariffs = tariffs
        self.accounts: dict[str, ledger.Accounts] = {}
        self.epochs: dict[tuple[str, str], EscrowEpoch] = {}
        # By currency: what goes from the escrow, and from (below zero: to) the wallet, to revenue.
        self.from_escrow: Counter[str] = Counter()
        self.from_wallet: Counter[str] = Counter()
        self.uncollectable: Counter[str] = Counter()
        self.spent: Counter[tuple[str, str]] = Counter()

    def run(self, rows: list[Row]) -> list[Settled]:
        self._lock()
        found = usage.compare(self.tenant_id, rows)
        contents = self._contents(found)
        self.tariffs.load(contents)
        self._open(contents)
        self.counters = Counters(self.tenant_id)
        self.counters.load(_counter_key(row, tariff) for row in contents if (tariff := self.tariffs.of(row)))
        written, settled = [], []
        for incoming, better, stored in found:
            if better or stored is None or not stored["is_settled"]:
                row = self._settle(incoming if better or stored is None else stored, stored)
                row["id"] = incoming["id"]
                written.append(row)
            else:
                row = stored
            settled.append(self._answer(row))
        self._post(written)
        self.counters.save()
        if written:
            usage.write(self.tenant_id, written)
        return settled

    def _lock(self) -> None:
        """One settlement of a tenant at a time, so that what is compared is what is there when it is written."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"billing.settle:{self.tenant_id}"]
            )

    @staticmethod
    def _contents(found: list[tuple[Row, bool, Row | None]]) -> list[Row]:
        return [row for incoming, _better, stored in found for row in (incoming, stored) if row]

    def _open(self, contents: list[Row]) -> None:
        """Lock the accounts, in one order, and with them the epochs."""
        for code in sorted({tariff.currency for row in contents if (tariff := self.tariffs.of(row))}):
            self.accounts[code] = ledger.lock_accounts(tenant_id=self.tenant_id, code=code)
        epochs = {row["epoch"] for row in contents if row["price_id"]}
        if not epochs:
            return
        for row in EscrowEpoch.objects.filter(epoch__in=epochs):
            self.epochs[row.epoch, row.currency] = row

    def _settle(self, content: Row, stored: Row | None) -> Row:
        """The row to be stored, with what it costs; the batch's sums go along."""
        row = dict(content)
        if stored is not None:
            # Whatever a later report says, the price and the hold stay those of the first that had any, and the
            # month is that of the admission (F15).
            for name in ("price_id", "hold_nano", "epoch"):
                row[name] = stored[name] or row[name]
            row["started_at"] = stored["started_at"]
        again = stored if stored is not None and stored["is_settled"] and stored["price_id"] else None
        row.update(
            is_settled=True,
            charge_nano=0,
            rated_nano=0,
            escrow_nano=again["escrow_nano"] if again else 0,
            currency="",
            ledger_transaction_id=again["ledger_transaction_id"] if again else None,
        )
        tariff = self.tariffs.of(row)
        if tariff is None:
            if row["price_id"]:
                log.error("billing.price_unknown", request_id=row["request_id"], price=row["price_id"])
            return row
        row["currency"] = tariff.currency
        before = units_of_record(again) if again else Units()
        rated = self.counters.move(_counter_key(row, tariff), tariff.card, before, units_of_record(row))
        rated = min(max(rated + (again["rated_nano"] if again else 0), -MAX_NANO), MAX_NANO)
        row["rated_nano"] = rated
        if rated > row["hold_nano"]:
            log.error(
                "billing.charge_above_hold",
                request_id=row["request_id"],
                tenant_id=str(self.tenant_id),
                rated_nano=rated,
                hold_nano=row["hold_nano"],
            )
        due = min(max(rated, 0), row["hold_nano"])
        if again is None:
            self._collect(row, due)
        else:
            self._adjust(row, again, due)
        return row

    def _collect(self, row: Row, due: int) -> None:
        """A request's first charge: from the escrow of its epoch, or late, from the wallet."""
        code, key = row["currency"], (row["epoch"], row["currency"])
        epoch = self.epochs.get(key)
        left = 0
        if epoch is not None and epoch.state == EpochState.OPEN:
            left = epoch.left_nano - self.spent[key]
        from_escrow = min(due, left)
        if from_escrow:
            self.spent[key] += from_escrow
            self.from_escrow[code] += from_escrow
        row["escrow_nano"] = from_escrow
        row["charge_nano"] = from_escrow + self._from_wallet(row, due - from_escrow)

    def _adjust(self, row: Row, again: Row, due: int) -> None:
        """A better record of a request that was charged: the difference, from or to the wallet."""
        charged, due_before = again["charge_nano"], min(max(again["rated_nano"], 0), again["hold_nano"])
        if due >= due_before:
            row["charge_nano"] = charged + self._from_wallet(row, due - due_before)
        else:
            # Of what was written off as uncollectable nothing comes back.
            row["charge_nano"] = min(charged, due)
            self.from_wallet[row["currency"]] -= charged - row["charge_nano"]

    def _from_wallet(self, row: Row, amount: int) -> int:
        """As much of it as the wallet covers; the rest is written down as uncollectable."""
        code = row["currency"]
        if amount == 0:
            return 0
        covered = max(0, min(amount, self.accounts[code].spendable_nano - self.from_wallet[code]))
        self.from_wallet[code] += covered
        if covered < amount:
            self.uncollectable[code] += amount - covered
            log.error(
                "billing.uncollectable",
                request_id=row["request_id"],
                tenant_id=str(self.tenant_id),
                amount_nano=amount - covered,
            )
        return covered

    def _post(self, written: list[Row]) -> None:
        """One ledger transaction per currency; its id goes onto the records that it charged for."""
        for code, accounts in self.accounts.items():
            from_escrow, from_wallet = self.from_escrow[code], self.from_wallet[code]
            if from_escrow or from_wallet:
                transaction_id = ledger.post(
                    accounts=accounts,
                    kind=TransactionKind.USAGE,
                    sides={
                        AccountKind.ESCROW: -from_escrow,
                        AccountKind.WALLET: -from_wallet,
                        AccountKind.REVENUE: from_escrow + from_wallet,
                    },
                    actor=ACTOR,
                )
                for row in written:
                    if row["currency"] == code and row["charge_nano"]:
                        row["ledger_transaction_id"] = str(transaction_id)
            if lost := self.uncollectable[code]:
                ledger.post(
                    accounts=accounts,
                    kind=TransactionKind.UNCOLLECTABLE,
                    sides={AccountKind.ADJUSTMENTS: -lost, AccountKind.UNCOLLECTABLE: lost},
                    actor=ACTOR,
                    reason="used, and covered neither by a hold nor by the wallet",
                )
        for key, amount in self.spent.items():
            epoch = self.epochs[key]
            epoch.charged_nano += amount
            epoch.save(update_fields=["charged_nano"])

    def _answer(self, row: Row) -> Settled:
        return Settled(
            request_id=row["request_id"],
            tenant_id=self.tenant_id,
            epoch=row["epoch"],
            hold_nano=row["hold_nano"],
            charge_nano=row["escrow_nano"],
            tokens=row["prompt_tokens"] + row["completion_tokens"],
            gpu_ns=row["gpu_prefill_ns"] + row["gpu_decode_ns"],
        )


def _counter_key(row: Row, tariff: _Tariff) -> CounterKey:
    return CounterKey(f"{row['started_at'][:7]}-01", tariff.plan_id, tariff.model)
