"""The billing centre through REST."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from tests.billing.settled import OCTOBER, record, settle, settle_and_book
from tests.factories.access import APIKeyFactory
from tests.factories.billing_centre import BudgetFactory, InvoiceFactory

SPAN = "since=2026-10-01T00:00:00Z&until=2026-11-01T00:00:00Z"


@pytest.fixture
def charged(acme, globex):
    """Three charged requests of Acme's, one of Globex's."""
    settle_and_book(
        acme,
        record(acme, "a", charge_nano=1_500_000_000, tags={"team": "red"}),
        record(acme, "b", charge_nano=250_000_000, model="other"),
        record(acme, "c", charge_nano=7, currency="USD"),
    )
    settle_and_book(globex, record(globex, "x", charge_nano=99_000_000_000))
    return acme


def test_costs_are_exact_and_by_currency(alice_rest, charged):
    costs = alice_rest.get(f"/costs/?by=model&{SPAN}").json()
    assert {(row["group"], row["currency"]): row["amount"] for row in costs["groups"]} == {
        ("atrium-starter", "CNY"): "1.5",
        ("atrium-starter", "USD"): "0.000000007",
        ("other", "CNY"): "0.25",
    }
    assert costs["totals"] == [
        {"currency": "CNY", "nano": 1_750_000_000, "amount": "1.75"},
        {"currency": "USD", "nano": 7, "amount": "0.000000007"},
    ]
    tagged = alice_rest.get(f"/costs/?by=tag&{SPAN}").json()
    assert [(row["group"], row["nano"]) for row in tagged["groups"]] == [("team=red", 1_500_000_000)]


@pytest.mark.parametrize("by", ["day", "hour", "model", "key", "member", "outcome"])
def test_usage_adds_up_the_same_by_whatever(alice_rest, charged, by):
    summary = alice_rest.get(f"/usage/summary/?by={by}&{SPAN}").json()
    assert sum(group["requests"] for group in summary["groups"]) == 3
    assert sum(charge["nano"] for group in summary["groups"] for charge in group["charges"]) == 1_750_000_007
    assert summary["totals"]["slot_seconds"] == "2.7"


@pytest.mark.parametrize("query", ["by=key&tag=team", "by=tag&outcome=lost", "by=year", "member=usr_x"])
def test_sums_that_cannot_be_made_are_errors(alice_rest, charged, query):
    for path in ("/usage/summary/", "/costs/"):
        assert alice_rest.get(f"{path}?{query}").status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "xlsx"])
@pytest.mark.parametrize("accept", ["*/*", "text/csv"])
def test_exports_are_streams_of_ones_own_records(alice_rest, charged, form, accept):
    answer = alice_rest.get(f"/usage/export/?file={form}&{SPAN}", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.streaming
    assert f'filename="usage-20261001-20261101.{form}"' in answer["Content-Disposition"]
    content = b"".join(answer.streaming_content)
    if form == "xlsx":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read("xl/worksheets/sheet1.xml")
    lines = content.decode()
    assert "99000000000" not in lines
    assert "1500000000" in lines
    if form == "jsonl":
        assert len([json.loads(line) for line in lines.splitlines()]) == 3


def test_staff_export_everybodys(olive_rest, charged):
    answer = olive_rest.get(f"/usage/export/?file=jsonl&{SPAN}")
    assert len(b"".join(answer.streaming_content).splitlines()) == 4


def test_budgets_are_kept_and_tell_what_is_used(alice_rest, charged):
    made = alice_rest.post("/budgets/", {"name": "m", "scope": "tenant", "amount": "3.5", "currency": "CNY"})
    assert made.status_code == 201, made.content
    assert (made.json()["amount"], made.json()["thresholds"]) == ("3.5", [50, 80, 100])
    path = f"/budgets/{made.json()['id']}/"
    assert alice_rest.get(path).json()["used_percent"] == 0  # of this month
    changed = alice_rest.patch(path, {"amount": None, "tokens": 10, "thresholds": [90]})
    assert (changed.json()["amount"], changed.json()["tokens"]) == (None, 10)
    assert alice_rest.get(f"{path}alerts/").json() == {"results": []}
    assert alice_rest.delete(path).status_code == 204
    assert alice_rest.get(path).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "tenant", "amount": "1"},
        {"scope": "tenant", "amount": "1", "currency": "cny"},
        {"scope": "tenant", "amount": "NaN", "currency": "CNY"},
        {"scope": "tenant", "amount": "1e400", "currency": "CNY"},
        {"scope": "tenant", "amount": "-1", "currency": "CNY"},
        {"scope": "tenant", "amount": "0.0000000001", "currency": "CNY"},
        {"scope": "tenant", "tokens": 0},
        {"scope": "key", "tokens": 5},
        {"scope": "tenant", "tokens": 5, "thresholds": ["x"]},
        {"scope": "galaxy", "tokens": 5},
    ],
    ids=repr,
)
def test_a_budget_that_makes_no_sense_is_a_bad_request(alice_rest, body):
    assert alice_rest.post("/budgets/", {"name": "b", **body}).status_code == 400


def test_a_budget_of_a_key_names_it(alice_rest, acme):
    key = APIKeyFactory(tenant=acme)
    made = alice_rest.post("/budgets/", {"name": "k", "scope": "key", "tokens": 5, "key": key.public_id})
    assert made.json()["key"] == key.public_id
    again = alice_rest.post("/budgets/", {"name": "k", "scope": "tenant", "tokens": 5})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


@pytest.mark.slow
def test_an_invoice_from_draft_to_payment(alice_rest, olive_rest, charged):
    invoice = InvoiceFactory(tenant=charged, charged=False)
    path = f"/invoices/{invoice.public_id}/"
    draft = alice_rest.get(path).json()
    assert (draft["state"], draft["month"], draft["total"], draft["exact_total"]) == (
        "draft",
        "2026-10",
        "1.75",
        "1.75",
    )
    assert [line["amount"] for line in draft["lines"]] == ["1.50", "0.25"]
    behind = alice_rest.get(f"{path}lines/1/requests/").json()
    assert [row["request_id"] for row in behind["results"]] == ["a"]
    assert alice_rest.get(f"{path}lines/9/requests/").status_code == 404
    assert alice_rest.post(f"{path}close/", {"reason": "x"}).status_code == 403
    closed = olive_rest.post(f"{path}close/", {"reason": "month's end"})
    assert closed.status_code == 200, closed.content
    assert closed.json()["number"].endswith("-000001")
    assert olive_rest.post(f"{path}close/", {"reason": "again"}).status_code == 409
    paid = olive_rest.post(f"{path}pay/", {"payment_reference": "wire 17"})
    assert (paid.json()["state"], paid.json()["payment_reference"]) == ("paid", "wire 17")
    types = [row["type"] for row in alice_rest.get("/billing-events/").json()["results"]]
    assert types == ["billing.invoice.paid", "billing.invoice.closed"]
    for form, beginning in (("pdf", b"%PDF"), ("csv", b"\xef\xbb\xbf"), ("xlsx", b"PK")):
        file = alice_rest.get(f"{path}{form}/", headers={"accept": "application/octet-stream"})
        assert file.content.startswith(beginning)
        assert "INV-" in file["Content-Disposition"]


def test_the_requests_behind_a_line_come_page_by_page(alice_rest, acme):
    settle(acme, *(record(acme, f"r{n}", started_at=OCTOBER + timedelta(minutes=n // 2)) for n in range(7)))
    invoice = InvoiceFactory(tenant=acme, charged=False)
    path, seen = f"/invoices/{invoice.public_id}/lines/1/requests/?page_size=2", []
    while path:
        page = alice_rest.get(path).json()
        seen += [row["request_id"] for row in page["results"]]
        path = "/" + page["next"].split("/", 3)[3] if page["next"] else ""
    assert sorted(seen) == [f"r{n}" for n in range(7)]


@pytest.mark.slow
def test_an_operator_closes_a_month_for_all(olive_rest, sam_rest, charged):
    assert sam_rest.post("/invoices/close-month/", {"month": "2026-10"}).status_code == 403
    closed = olive_rest.post("/invoices/close-month/", {"month": "2026-10"})
    assert closed.status_code == 200, closed.content
    assert sorted((row["currency"], row["total"]) for row in closed.json()["results"]) == [
        ("CNY", "1.75"),
        ("CNY", "99.00"),
        ("USD", "0.00"),
    ]
    this_month = f"{datetime.now(UTC):%Y-%m}"
    assert olive_rest.post("/invoices/close-month/", {"month": this_month}).status_code == 409
    assert olive_rest.post("/invoices/close-month/", {"month": "October"}).status_code == 400


def test_reconciliation_on_demand(olive_rest, sam_rest, alice_rest, charged):
    span = {"since": "2026-10-01T00:00:00Z", "until": "2026-11-01T00:00:00Z"}
    report = olive_rest.post("/reconciliations/", span)
    assert (report.status_code, report.json()["state"]) == (200, "balanced"), report.content
    assert sam_rest.get("/reconciliations/").json()["results"][0]["id"] == report.json()["id"]
    assert alice_rest.get("/reconciliations/").status_code == 403


def test_a_budget_shows_this_months_use(alice_rest, acme):
    budget = BudgetFactory(tenant=acme, limit_tokens=40)
    settle(acme, record(acme, "now", started_at=datetime.now(UTC)))
    shown = alice_rest.get(f"/budgets/{budget.public_id}/").json()
    assert (shown["used"], shown["used_percent"]) == ("30", 75)
