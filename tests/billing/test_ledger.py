"""The ledger: what it refuses, what PostgreSQL refuses besides, and what the verifier finds."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import AmountRefused, EpochClosed, InsufficientFunds, KeyReused
from billing.models import Account, AccountKind, EscrowEpoch, LedgerEntry, LedgerTransaction
from billing.money import NANO
from billing.services import escrow, ledger, wallets
from billing.services.settlement import settle
from billing.services.verification import verify
from core.errors import Conflict, InvalidInput
from core.ids import new_id
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests import database
from tests.billing import world
from tests.billing.world import EPOCH, MACHINE, balances, note

pytestmark = pytest.mark.django_db
MOVES = st.lists(
    st.tuples(
        st.sampled_from([*AccountKind]), st.sampled_from([*AccountKind]), st.integers(-5 * NANO, 5 * NANO)
    ),
    max_size=10,
)


def move(tenant: Tenant, sides: dict[AccountKind, int], **extra: Any) -> Any:
    """One transaction."""
    with tenant_scope(tenant.pk):
        return ledger.move(
            tenant_id=tenant.pk, code="CNY", kind="correction", sides=sides, actor=MACHINE, **extra
        )


@pytest.mark.slow
@given(moves=MOVES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_moved_the_ledger_adds_up_and_nothing_is_overdrawn(
    acme: Tenant, moves: list[tuple[AccountKind, AccountKind, int]]
) -> None:
    with transaction.atomic():
        for source, target, amount in moves:
            try:
                with transaction.atomic():
                    move(acme, {source: -amount, target: amount})
            except (InsufficientFunds, AmountRefused):
                continue
        stand = balances(acme)
        assert sum(stand.values()) == 0
        assert all(stand.get(kind, 0) >= 0 for kind in ("wallet", "escrow", "revenue"))
        found = {discrepancy.check for discrepancy in verify(tenant_id=acme.pk)}
        assert found <= {"escrow", "revenue"}  # these were moved by hand
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "sides",
    [{}, {AccountKind.WALLET: 1}, {AccountKind.WALLET: 2, AccountKind.CREDIT: -1}, {AccountKind.WALLET: 0}],
)
def test_what_does_not_add_up_is_refused(acme: Tenant, sides: dict[AccountKind, int]) -> None:
    with pytest.raises(AmountRefused):
        move(acme, sides)
    assert balances(acme) == {}


def test_a_key_stands_for_one_thing(acme: Tenant) -> None:
    sides = {AccountKind.CREDIT: -5, AccountKind.WALLET: 5}
    first = move(acme, sides, idempotency_key="k")
    assert move(acme, sides, idempotency_key="k") == first
    with pytest.raises(KeyReused):
        move(acme, {AccountKind.CREDIT: -6, AccountKind.WALLET: 6}, idempotency_key="k")
    with pytest.raises(KeyReused):
        move(acme, sides, idempotency_key="k", reason="another")
    assert balances(acme) == {"credit": -5, "wallet": 5}


def test_one_tenants_key_is_not_anothers(acme: Tenant, globex: Tenant) -> None:
    sides = {AccountKind.CREDIT: -5, AccountKind.WALLET: 5}
    assert move(acme, sides, idempotency_key="k") != move(globex, sides, idempotency_key="k")


# --- What PostgreSQL refuses, whatever the services do


def entry(made: LedgerTransaction, account: Account, amount: int, number: int = 99) -> LedgerEntry:
    """A row by hand."""
    return LedgerEntry(
        tenant_id=account.tenant_id,
        transaction=made,
        account=account,
        currency=account.currency,
        number=number,
        amount_nano=amount,
        balance_nano=0,
    )


@pytest.fixture
def made(acme: Tenant) -> LedgerTransaction:
    """A transaction of Acme's."""
    world.fund(acme, NANO)
    with platform_scope("tests"):
        found: LedgerTransaction = LedgerTransaction.objects.get()
        return found


def account(tenant: Tenant, kind: str) -> Account:
    """One account."""
    found: Account = Account.objects.get(tenant=tenant, kind=kind)
    return found


@pytest.mark.parametrize("amounts", [(5,), (5, -4), (5, 5)])
def test_entries_that_do_not_add_up_cannot_be_written(
    acme: Tenant, made: LedgerTransaction, amounts: tuple[int, ...]
) -> None:
    kinds = ("wallet", "credit")
    with tenant_scope(acme.pk):
        rows = [
            entry(made, account(acme, kind), amount) for kind, amount in zip(kinds, amounts, strict=False)
        ]
        with pytest.raises(IntegrityError, match="add up to zero"), transaction.atomic():
            LedgerEntry.objects.bulk_create(rows)
        balanced = [
            entry(made, account(acme, kind), amount) for kind, amount in zip(kinds, (5, -5), strict=True)
        ]
        LedgerEntry.objects.bulk_create(balanced)


def test_an_entry_cannot_be_of_another_tenant_or_currency_than_its_account(
    acme: Tenant, globex: Tenant, made: LedgerTransaction
) -> None:
    world.fund(globex, NANO)
    with platform_scope("tests"):
        theirs = account(globex, "wallet")
        wrong = [entry(made, account(acme, "wallet"), 5), entry(made, theirs, -5)]
        wrong[1].tenant_id = acme.pk
        dollars = [
            entry(made, account(acme, kind), amount) for kind, amount in (("wallet", 5), ("credit", -5))
        ]
        for row in dollars:
            row.currency = "USD"
        for rows in (wrong, dollars):
            with pytest.raises(IntegrityError, match="foreign key"), transaction.atomic():
                LedgerEntry.unscoped.bulk_create(rows)


@pytest.mark.parametrize("model", [LedgerEntry, LedgerTransaction])
@pytest.mark.parametrize("verb", ["change", "remove"])
def test_what_is_in_the_ledger_stays_as_it_is(
    acme: Tenant, made: LedgerTransaction, model: Any, verb: str
) -> None:
    with tenant_scope(acme.pk):
        rows = model.objects.all()
        change = {
            "change": lambda: rows.update(tenant_id=acme.pk),
            "remove": lambda: rows._raw_delete("default"),
        }
        with pytest.raises(DatabaseError), transaction.atomic():
            change[verb]()


@pytest.mark.parametrize(
    ("kind", "amount"), [("wallet", -1), ("escrow", -1), ("revenue", -1), ("wallet", -NANO - 1)]
)
def test_no_balance_can_be_set_below_its_bound(
    acme: Tenant, made: LedgerTransaction, kind: str, amount: int
) -> None:
    with tenant_scope(acme.pk), pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.filter(kind=kind).update(balance_nano=amount)


@pytest.mark.parametrize(
    "changes", [{"charged_nano": 11}, {"returned_nano": 11}, {"granted_nano": -1}, {"state": "closed"}]
)
def test_no_epoch_can_spend_more_than_it_was_granted(acme: Tenant, changes: dict[str, Any]) -> None:
    with tenant_scope(acme.pk):
        EscrowEpoch(tenant=acme, epoch="x", currency="CNY", granted_nano=10).save()
        with pytest.raises(IntegrityError), transaction.atomic():
            EscrowEpoch.objects.update(**changes)


# --- The verifier


def settled(acme: Tenant) -> None:
    """A ledger with some of everything in it."""
    world.priced(acme)
    world.fund(acme, NANO)
    world.granted(acme, 1_000_000)
    settle([note(acme, price=world.price_id(acme), hold_nano=1_000_000, epoch=EPOCH)])


TAMPERING = {
    "balance": "UPDATE billing_account SET balance_nano = balance_nano + 1 WHERE kind = 'wallet'",
    "entry": "UPDATE billing_ledgerentry SET balance_nano = balance_nano + 1 WHERE id ="
    " (SELECT min(id::text)::uuid FROM billing_ledgerentry)",
    "unbalanced": "UPDATE billing_ledgerentry SET amount_nano = amount_nano + 1 WHERE id ="
    " (SELECT min(id::text)::uuid FROM billing_ledgerentry)",
    "entries": "DELETE FROM billing_ledgerentry WHERE transaction_id ="
    " (SELECT max(id::text)::uuid FROM billing_ledgertransaction)",
    "escrow": "UPDATE billing_escrowepoch SET charged_nano = charged_nano - 1",
    "revenue": "UPDATE billing_usagerecord SET charge_nano = charge_nano - 1",
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("check", TAMPERING)
def test_the_verifier_finds_a_row_that_was_tampered_with(acme: Tenant, check: str) -> None:
    settled(acme)
    assert verify() == []
    with database.as_owner() as owner:
        owner.execute("SELECT set_config('app.tenant_id', %s, true)", [str(acme.pk)])
        owner.execute("ALTER TABLE billing_ledgerentry DISABLE TRIGGER append_only")
        assert owner.execute(TAMPERING[check].encode()).rowcount > 0  # type: ignore[call-overload]
        owner.execute("ALTER TABLE billing_ledgerentry ENABLE TRIGGER append_only")
        owner.commit()
    found = verify()
    assert check in {discrepancy.check for discrepancy in found}
    assert {discrepancy.tenant_id for discrepancy in found} == {acme.pk}


def test_an_entry_that_is_gone_breaks_the_count(acme: Tenant) -> None:
    settled(acme)
    with database.as_runtime() as runtime, pytest.raises(psycopg.errors.InsufficientPrivilege):
        runtime.execute("DELETE FROM billing_ledgerentry")


# --- Escrow


def test_a_grant_is_a_slice_and_never_more_than_there_is(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 1_000)
    assert world.granted(acme, 1) == 125
    assert world.granted(acme, 10) == 640
    assert world.granted(acme, 10) == 235
    assert world.granted(acme, 1) == 0
    assert balances(acme) == {"credit": -1_000, "escrow": 1_000}
    world.assert_sound(acme)


def test_a_credit_line_is_spent_like_money_and_no_further(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 10)
    world.credit_line(acme, 5)
    assert world.granted(acme, 16) == 0
    assert world.granted(acme, 15) == 15
    assert balances(acme) == {"credit": -10, "wallet": -5, "escrow": 15}
    with pytest.raises(Conflict):
        world.credit_line(acme, 4)


def test_without_a_plan_nothing_is_set_aside(acme: Tenant) -> None:
    world.fund(acme, NANO)
    assert escrow.grant(tenant_id=acme.pk, epoch=EPOCH, need_nano=1) is None
    assert escrow.terms_for(tenant_id=acme.pk) == escrow.Terms(charged=False)


def test_what_is_given_back_can_be_spent_again_and_no_more_than_was_granted(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 100)
    assert world.granted(acme, 100) == 100
    give = {"tenant_id": acme.pk, "epoch": EPOCH}
    for _ in range(2):
        escrow.give_back(**give, amount_nano=40, idempotency_key="once")
    assert balances(acme) == {"credit": -100, "wallet": 40, "escrow": 60}
    with pytest.raises(InsufficientFunds):
        escrow.give_back(**give, amount_nano=61)
    escrow.give_back(**give, amount_nano=60)
    assert balances(acme) == {"credit": -100, "wallet": 100}
    with pytest.raises(InvalidInput):
        escrow.give_back(tenant_id=acme.pk, epoch="never", amount_nano=1)
    world.assert_sound(acme)


def test_closing_an_epoch_returns_the_rest_once_and_for_good(acme: Tenant) -> None:
    world.priced(acme)
    world.fund(acme, 100)
    world.granted(acme, 60)
    assert escrow.open_epochs() == [(acme.pk, EPOCH)]
    assert escrow.open_epochs(other_than=EPOCH) == []
    assert escrow.close_epoch(tenant_id=acme.pk, epoch=EPOCH) == 100
    assert escrow.close_epoch(tenant_id=acme.pk, epoch=EPOCH) == 0
    assert escrow.open_epochs() == []
    with pytest.raises(EpochClosed):
        world.granted(acme, 1)
    with pytest.raises(EpochClosed):
        escrow.give_back(tenant_id=acme.pk, epoch=EPOCH, amount_nano=1)
    assert world.granted(acme, 1, "run-b") > 0
    world.assert_sound(acme)


def test_terms_are_the_highest_prices_and_fall_back_to_every_model(acme: Tenant) -> None:
    world.priced(acme, tiers={"output": [[10, 5 * NANO], [20, 3 * NANO]]})
    terms = escrow.terms_for(tenant_id=acme.pk)
    assert (terms.charged, terms.currency) == (True, "CNY")
    price = terms.price_of("whatever")
    assert price is not None
    assert (price.input_nano, price.output_nano) == (NANO, 5 * NANO)


def test_a_model_without_a_price_is_not_sold(acme: Tenant) -> None:
    world.priced(acme, model="only-this")
    terms = escrow.terms_for(tenant_id=acme.pk)
    assert terms.price_of("only-this") is not None
    assert terms.price_of("that") is None


def test_a_refund_takes_no_credit(acme: Tenant) -> None:
    world.credit_line(acme, NANO)
    with platform_scope("tests"):
        payment = wallets.begin_payment(
            actor=MACHINE, tenant=acme, amount_nano=NANO, currency="CNY", reference=str(new_id())
        )
        wallets.confirm_payment(actor=MACHINE, payment=payment)
    move(acme, {AccountKind.WALLET: -1, AccountKind.ADJUSTMENTS: 1})
    with pytest.raises(Conflict), platform_scope("tests"):
        wallets.refund_payment(actor=MACHINE, payment=payment, reason="x")
