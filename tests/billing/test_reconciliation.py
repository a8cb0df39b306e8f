"""Reconciliation finds each difference between three parties, names its cause, and finds none where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection

from billing.models import Reconciliation, UsageRecord
from billing.selectors import ledger_view
from billing.services import engine_totals, invoices, reconciliation
from core.actors import Actor
from core.errors import InvalidInput
from core.scoping import tenant_scope
from tenants.models import Tenant
from tests.billing.settled import OCTOBER, record
from tests.billing.settled import settle_and_book as settle

pytestmark = pytest.mark.django_db
BEGIN, END = OCTOBER, OCTOBER + timedelta(days=31)


def engine(**changes: Any) -> None:
    """The totals of the replica that served the two requests of `served`."""
    engine_totals.record(
        **{
            "replica": "node/0",
            "deployment_id": UUID(int=1),
            "begun_at": OCTOBER,
            "ended_at": OCTOBER + timedelta(days=20),
            "requests": 2,
            "prompt_tokens": 20,
            "completion_tokens": 40,
            "busy_ns": 1000,
            "attributed_ns": 1000,
            **changes,
        }
    )


@pytest.fixture
def served(acme: Tenant) -> Tenant:
    """Two requests, as the engine, the records and the roll-ups have them."""
    common = {"replica": "node/0", "gpu_prefill_ns": 200, "gpu_decode_ns": 300}
    settle(acme, record(acme, "a", **common), record(acme, "b", **common))
    engine()
    return acme


def differences(report: Reconciliation) -> set[tuple[str, str, int, int, str]]:
    """What was found."""
    return {(row.kind, row.measure, row.left, row.right, row.cause) for row in report.differences.all()}


def run(actor: Actor) -> Reconciliation:
    """October."""
    return reconciliation.run(begin=BEGIN, end=END, actor=actor)


def test_what_agrees_is_balanced(served: Tenant, machine: Actor) -> None:
    with tenant_scope(served.pk):
        for draft in invoices.ensure_drafts(tenant_id=served.pk):
            invoices.close(invoice=draft, actor=machine)
    report = run(machine)
    assert (report.state, differences(report)) == ("balanced", set())
    assert report.checks > 15


def test_a_record_that_is_missing_is_found(served: Tenant, machine: Actor) -> None:
    with tenant_scope(served.pk):
        UsageRecord.objects.filter(request_id="b").delete()
    assert differences(run(machine)) == {
        ("engine", "requests", 2, 1, "records_missing"),
        ("engine", "prompt_tokens", 20, 10, "records_missing"),
        ("engine", "completion_tokens", 40, 20, "records_missing"),
        ("busy", "gpu_ns", 1000, 500, "records_missing"),
        ("ledger", "CNY", 1_000_000, 2_000_000, "booked_without_record"),
    }


def test_guesses_of_the_reaper_are_named_as_the_cause(served: Tenant, machine: Actor) -> None:
    with tenant_scope(served.pk):
        UsageRecord.objects.filter(request_id="b").update(outcome="lost", completion_tokens=19)
    assert ("engine", "completion_tokens", 40, 39, "lost_requests") in differences(run(machine))


def test_a_replica_that_still_runs_has_records_on_their_way(served: Tenant, machine: Actor) -> None:
    engine(replica="node/1", ended_at=None, requests=1, prompt_tokens=0, completion_tokens=0, busy_ns=0)
    assert differences(run(machine)) == {("engine", "requests", 1, 0, "on_their_way")}


@pytest.mark.parametrize(("busy", "found"), [(1010, False), (1011, True), (990, False)])
def test_one_percent_of_busy_time_may_be_nobodys(
    served: Tenant, machine: Actor, busy: int, found: bool
) -> None:
    engine(replica="node/0", busy_ns=busy)
    kinds = {kind for kind, *_rest in differences(run(machine))}
    assert ("busy" in kinds) == found


def test_reports_of_an_engine_only_grow(served: Tenant, machine: Actor) -> None:
    engine(requests=1, prompt_tokens=1, completion_tokens=1, busy_ns=1, attributed_ns=1, ended_at=None)
    assert run(machine).state == "balanced"


def test_a_roll_up_that_was_tampered_with_is_found(served: Tenant, machine: Actor) -> None:
    with tenant_scope(served.pk), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_usagerollup SET completion_tokens = 41 WHERE grain = 'day'")
    assert differences(run(machine)) == {("rollup", "completion_tokens/day", 40, 41, "rollups_stale")}


@pytest.mark.parametrize(
    ("revenue", "cause"), [(2_000_001, "booked_without_record"), (1_999_999, "record_without_booking")]
)
def test_a_ledger_that_says_something_else_is_found_to_the_nano_unit(
    served: Tenant, machine: Actor, monkeypatch: pytest.MonkeyPatch, revenue: int, cause: str
) -> None:
    monkeypatch.setattr(ledger_view, "ledger_revenue_nano", lambda **_: revenue)
    assert differences(run(machine)) == {("ledger", "CNY", 2_000_000, revenue, cause)}


def test_usage_that_came_in_after_closing_is_told_of_until_it_is_invoiced(
    served: Tenant, machine: Actor
) -> None:
    with tenant_scope(served.pk):
        for draft in invoices.ensure_drafts(tenant_id=served.pk):
            invoices.close(invoice=draft, actor=machine)
    settle(served, record(served, "late", charge_nano=7), record(served, "n", started_at=END, charge_nano=1))
    found = differences(run(machine))
    assert found == {("invoice", "CNY/2026-10", 2_000_007, 2_000_000, "late_usage")}
    with tenant_scope(served.pk), time_machine.travel(datetime(2026, 12, 2, tzinfo=UTC), tick=False):
        for draft in invoices.ensure_drafts(tenant_id=served.pk):
            invoices.close(invoice=draft, actor=machine)
    assert run(machine).state == "balanced"


def test_tenants_are_named_by_their_public_id_only(served: Tenant, machine: Actor) -> None:
    with tenant_scope(served.pk), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_usagerollup SET requests = 9")
    subjects = set(run(machine).differences.values_list("subject", flat=True))
    assert subjects == {served.public_id}


def test_a_span_that_makes_no_sense_is_refused(machine: Actor) -> None:
    for begin, end in ((END, BEGIN), (BEGIN, BEGIN + timedelta(days=200))):
        with pytest.raises(InvalidInput):
            reconciliation.run(begin=begin, end=end, actor=machine)


def test_the_command_prints_differences_and_fails_on_them(served: Tenant) -> None:
    out = StringIO()
    call_command("reconcile_billing", since="2026-10-01", until="2026-11-01", stdout=out)
    assert "Balanced" in out.getvalue()
    engine(requests=3)
    with pytest.raises(CommandError):
        call_command("reconcile_billing", since="2026-10-01", until="2026-11-01", stdout=out)
    assert "node/0 requests: 3 / 2 (records are missing)" in out.getvalue()
    with tenant_scope(served.pk), connection.cursor() as cursor:
        cursor.execute("DELETE FROM billing_usagerollup")
    call_command("rebuild_rollups", month="2026-10", stdout=out)
    with tenant_scope(served.pk), connection.cursor() as cursor:
        cursor.execute("SELECT sum(requests) FROM billing_usagerollup WHERE grain = 'day'")
        assert cursor.fetchone() == (2,)
