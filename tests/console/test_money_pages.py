"""Usage, money and call logs in the console: the figures of the records, for those who may see them, and no others'."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.expressions import RawSQL
from django.test import Client
from django.urls import reverse

from billing.models import UsageRecord
from billing.money import NANO
from billing.services.settlement import settle
from billing.templatetags.billing import exact_money, money
from core import clock
from core.scoping import tenant_scope
from inference.call_logs import selectors
from inference.pages.overview import percentile
from inference.pages.story import story_of
from tenants.models import Limit, Tenant
from tests.billing import world
from tests.factories.access import APIKeyFactory
from tests.factories.billing import UsageRecordFactory
from tests.factories.billing_centre import BudgetFactory, InvoiceFactory
from tests.factories.call_logs import CallLogFactory
from tests.factories.models_registry import DeploymentFactory, ModelFactory, ModelVersionFactory
from tests.factories.tenants import LimitFactory

USAGE, MONEY, LEDGER, LOGS, LIMITS = (
    reverse(name)
    for name in ("billing:usage", "billing:money", "billing:ledger", "calls:logs", "calls:limits")
)
XSS = "<img src=x onerror=alert(1)>"


@pytest.fixture
def charged(acme: Tenant) -> UsageRecord:
    """One request of Acme's, a minute ago, settled out of a funded wallet."""
    world.priced(acme)
    world.fund(acme, 100 * NANO)
    world.granted(acme, NANO)
    now = int(clock.now().timestamp() * 1000)
    settle(
        [
            world.note(
                acme,
                "req_charged",
                hold_nano=NANO,
                epoch=world.EPOCH,
                price=world.price_id(acme),
                started_ms=now - 60_000,
                finished_ms=now - 59_000,
            )
        ]
    )
    with tenant_scope(acme.pk):
        record = UsageRecord.objects.get(request_id="req_charged")
    assert record.charge_nano == world.COST
    return record


def chart_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="usage-chart" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    chart: dict[str, Any] = json.loads(found[1])
    return chart


@pytest.mark.parametrize(
    ("measure", "value"), [("charges", 200_000 / 1e9), ("requests", 1.0), ("tokens", 100.0), ("gpu", 3e-6)]
)
def test_the_chart_and_the_table_are_the_records(
    alice_client: Client, charged: UsageRecord, measure: str, value: float
) -> None:
    page = alice_client.get(USAGE, {"measure": measure}).content.decode()
    chart = chart_of(page)
    today = charged.started_at.date().isoformat()
    assert len(chart["names"]) == 30
    assert chart["series"][0]["values"][chart["names"].index(today)] == pytest.approx(value)
    assert sum(chart["series"][0]["values"]) == pytest.approx(value)
    assert money(world.COST, "CNY") in page


@pytest.mark.parametrize("by", ["model", "key", "member", "tag", "outcome"])
def test_every_grouping_has_its_page(alice_client: Client, charged: UsageRecord, by: str) -> None:
    assert alice_client.get(USAGE, {"by": by}).status_code == 200


def test_htmx_gets_the_part_that_changes(alice_client: Client, charged: UsageRecord) -> None:
    part = alice_client.get(USAGE, {"by": "model"}, headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "<td><code>any</code></td>" in part
    assert (
        "<html"
        in alice_client.get(USAGE, headers={"HX-Request": "true", "HX-Boosted": "true"}).content.decode()
    )


def test_nothing_used_says_what_to_do_and_nonsense_is_a_sentence(alice_client: Client) -> None:
    assert "Nothing was used" in alice_client.get(USAGE).content.decode()
    for odd in ({"by": "x"}, {"span": "1d"}, {"key": "key_x"}, {"by": "tag", "member": "usr_x"}):
        answer = alice_client.get(USAGE, odd)
        assert answer.status_code == 200
        assert "note bad" in answer.content.decode()


def test_no_other_tenants_usage_or_money_is_seen(charlie_client: Client, charged: UsageRecord) -> None:
    assert "Nothing was used" in charlie_client.get(USAGE).content.decode()
    assert "The ledger is empty" in charlie_client.get(LEDGER).content.decode()
    transaction = f"txn_{'0' * 26}"
    with tenant_scope(charged.tenant_id):
        from billing.selectors.ledger import transactions

        transaction = transactions().first().public_id
    assert charlie_client.get(reverse("billing:transaction", args=[transaction])).status_code == 404


def test_the_wallet_the_ledger_and_the_requests_behind_an_entry(
    alice_client: Client, acme: Tenant, charged: UsageRecord
) -> None:
    page = alice_client.get(MONEY).content.decode()
    wallet = world.balances(acme)["wallet"]
    assert 0 < wallet < 100 * NANO
    assert money(wallet, "CNY") in page
    entry = alice_client.get(LEDGER).content.decode()
    (usage, *_rest) = re.findall(r'href="(/console/billing/ledger/txn_[^"]+)"', entry)
    behind = alice_client.get(usage).content.decode()
    assert "req_charged" in behind
    assert exact_money(world.COST, "CNY") in behind


def test_an_invoice_opens_down_to_its_requests(alice_client: Client, acme: Tenant) -> None:
    invoice = InvoiceFactory(tenant=acme)
    page = alice_client.get(reverse("billing:invoice", args=[invoice.public_id])).content.decode()
    lines = re.findall(r'href="(/console/billing/invoices/[^"]+/lines/\d+/)"', page)
    assert lines
    assert "atrium-starter" in alice_client.get(lines[0]).content.decode()
    assert alice_client.get(reverse("billing:invoice-line", args=[invoice.public_id, 999])).status_code == 404


def test_another_tenants_invoice_does_not_exist(alice_client: Client, globex: Tenant) -> None:
    theirs = InvoiceFactory(tenant=globex)
    assert alice_client.get(reverse("billing:invoice", args=[theirs.public_id])).status_code == 404


def test_a_budget_shows_how_far_it_is_used(alice_client: Client, acme: Tenant, charged: UsageRecord) -> None:
    BudgetFactory(
        tenant=acme,
        name="The month",
        scope="tenant",
        limit_nano=world.COST * 2,
        limit_tokens=None,
        currency="CNY",
    )
    page = alice_client.get(MONEY).content.decode()
    assert "The month" in page
    assert 'value="50"' in page


def test_money_is_for_those_who_pay(bob_client: Client, dana_client: Client, charged: UsageRecord) -> None:
    for client in (bob_client, dana_client):
        assert client.get(MONEY).status_code == 403
        assert client.get(LEDGER).status_code == 403
        assert MONEY not in client.get(reverse("console:home")).content.decode()


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "CN¥0.00"), (165_000, "CN¥0.000165"), (875 * NANO, "CN¥875.00"), (-165_000, "-CN¥0.000165"),
     (1_234_567_890, "CN¥1.2346"), (999_999_999_999, "CN¥1,000.00"), (1, "CN¥0.000000001")],
)  # fmt: skip
def test_money_is_short_where_that_hides_nothing(amount: int, text: str) -> None:
    assert money(amount, "CNY") == text


# --- Call logs


def test_a_request_is_found_by_id_text_and_outcome(bob_client: Client, acme: Tenant) -> None:
    good = CallLogFactory(tenant=acme)
    bad = CallLogFactory(
        tenant=acme, outcome="refused", error_code="rate_limit_exceeded", search_text="other"
    )
    for query, hit, miss in (
        ({"q": good.request_id}, good, bad),
        ({"q": "TENANT?"}, good, bad),
        ({"outcome": "refused"}, bad, good),
    ):
        part = bob_client.get(LOGS, query, headers={"HX-Request": "true"}).content.decode()
        assert hit.public_id in part
        assert miss.public_id not in part
    assert "No request matches" in bob_client.get(LOGS, {"q": "100%"}).content.decode()


def test_pages_of_the_log_follow_each_other_without_a_gap(
    bob_client: Client, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.pages.logs.PAGE", 2)
    moment = clock.now() - timedelta(minutes=5)
    made = [CallLogFactory(tenant=acme, started_at=moment).public_id for _ in range(5)]
    seen: list[str] = []
    url = LOGS
    for _ in range(3):
        page = bob_client.get(url).content.decode()
        seen += re.findall(r"/console/logs/(log_[^/]+)/", page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        url = older[1].replace("&amp;", "&") if older else ""
    assert url == ""
    assert sorted(seen) == sorted(made)


def test_the_story_of_a_request(alice_client: Client, acme: Tenant, charged: UsageRecord) -> None:
    log = CallLogFactory(
        tenant=acme,
        request_id=charged.request_id,
        started_at=charged.started_at,
        queue_ms=200,
        first_token_ms=500,
        duration_ms=1000,
        completion_tokens=51,
        verdicts=[{"rule": "mail", "version": 3, "category": "pii", "direction": "in", "action": "mask",
                   "start": 4, "end": 19}],
        prompt_summary=XSS,
        user_agent=XSS,
        tags={"team": XSS},
    )  # fmt: skip
    page = alice_client.get(reverse("calls:log", args=[log.public_id])).content.decode()
    assert "<img src=x" not in page
    for text in (
        "200 ms",
        "500 ms",
        "mail",
        "4–19",
        exact_money(NANO, "CNY"),
        exact_money(NANO - world.COST, "CNY"),
    ):
        assert text in page
    with tenant_scope(acme.pk):
        story = story_of(log, charged)
    assert [(phase.kind, phase.ms) for phase in story.phases] == [
        ("wait", 200),
        ("first", 300),
        ("answer", 500),
    ]
    assert story.tokens_per_s == 100.0


def test_a_refusal_names_the_limit_and_what_to_do(bob_client: Client, acme: Tenant) -> None:
    log = CallLogFactory(
        tenant=acme,
        outcome="refused",
        error_code="rate_limit_exceeded",
        limit_name="tenant:requests_per_minute",
    )
    page = bob_client.get(reverse("calls:log", args=[log.public_id])).content.decode()
    assert "tenant:requests_per_minute" in page
    assert "Wait until the limit resets" in page


def test_developers_see_requests_without_money(
    bob_client: Client, acme: Tenant, charged: UsageRecord
) -> None:
    log = CallLogFactory(tenant=acme, request_id=charged.request_id, started_at=charged.started_at)
    page = bob_client.get(reverse("calls:log", args=[log.public_id])).content.decode()
    assert "Your role does not show money" in page
    assert exact_money(NANO, "CNY") not in page


def test_the_log_is_closed_to_viewers_and_to_other_tenants(
    dana_client: Client, charlie_client: Client, acme: Tenant
) -> None:
    log = CallLogFactory(tenant=acme)
    assert dana_client.get(LOGS).status_code == 403
    assert log.public_id not in charlie_client.get(LOGS, {"span": "all"}).content.decode()
    url = reverse("calls:log", args=[log.public_id])
    assert charlie_client.get(url).status_code == 404
    assert charlie_client.post(f"{url}text/").status_code == 404


def test_odd_places_and_spans_are_read_as_none(bob_client: Client, acme: Tenant) -> None:
    CallLogFactory(tenant=acme, started_at=datetime(2026, 11, 1, tzinfo=UTC))
    for odd in ({"before": "x~y"}, {"before": "2026-11-01~log_x"}, {"span": "all", "before": ""}):
        assert bob_client.get(LOGS, odd).status_code == 200
    assert "cannot be read" in bob_client.get(LOGS, {"span": "forever"}).content.decode()


# --- Limits


def test_a_limit_is_set_shown_with_its_use_and_taken_away(alice_client: Client, acme: Tenant) -> None:
    page = alice_client.post(
        LIMITS, {"kind": "requests_per_minute", "value": "60"}, follow=True
    ).content.decode()
    assert "The limit is in force" in page
    assert 'value="0"' in page
    with tenant_scope(acme.pk):
        limit = Limit.objects.get()
    assert (limit.kind, limit.value, limit.owner, limit.key_id, limit.model) == (
        "requests_per_minute",
        60,
        "tenant",
        None,
        "",
    )
    alice_client.post(LIMITS, {"kind": "monthly_money_nano", "value": "12.5"})
    with tenant_scope(acme.pk):
        assert Limit.objects.get(kind="monthly_money_nano").value == 12_500_000_000
    assert "12.5" in alice_client.get(LIMITS).content.decode()
    alice_client.post(reverse("calls:limit-remove", args=[limit.public_id]))
    with tenant_scope(acme.pk):
        assert not Limit.objects.filter(pk=limit.pk).exists()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "requests_per_minute", "value": "1.5"}, "value"),
        ({"kind": "requests_per_minute", "value": "-1"}, "value"),
        ({"kind": "nonsense", "value": "1"}, "kind"),
        ({"kind": "requests_per_minute", "value": "1", "key": "key_x"}, "key"),
        ({"kind": "requests_per_minute", "value": "1", "model": "x" * 201}, "model"),
    ],
)
def test_what_is_no_limit_is_said_beside_its_field(
    alice_client: Client, given: dict[str, str], field: str
) -> None:
    answer = alice_client.post(LIMITS, given)
    assert answer.status_code == 422
    assert field in answer.context["form"].errors


def test_the_operators_ceilings_stay(
    alice_client: Client, dana_client: Client, charlie_client: Client, acme: Tenant
) -> None:
    ceiling = LimitFactory(tenant=acme, owner="platform", kind="tokens_per_day", value=1_000)
    url = reverse("calls:limit-remove", args=[ceiling.public_id])
    assert "the operator's" in alice_client.get(LIMITS).content.decode()
    assert alice_client.post(url).status_code == 403
    assert charlie_client.post(url).status_code == 404
    assert "Set a limit" not in dana_client.get(LIMITS).content.decode()
    assert dana_client.post(url).status_code == 403
    with tenant_scope(acme.pk):
        assert Limit.objects.filter(pk=ceiling.pk).exists()


# --- Overview

OVERVIEW = reverse("calls:overview")


def test_the_overview_adds_up_and_shows_how_fast_it_was(
    alice_client: Client, acme: Tenant, charged: UsageRecord
) -> None:
    for number in range(1, 101):
        CallLogFactory(tenant=acme, duration_ms=number, first_token_ms=None, queue_ms=0)
    CallLogFactory(tenant=acme, duration_ms=10**6, outcome="failed")
    page = alice_client.get(OVERVIEW)
    assert money(world.COST, "CNY") in page.content.decode()
    speed = page.context["speed"]
    assert speed["duration"] == {50: 50, 95: 95, 99: 99}
    assert speed["first"] == {50: None, 95: None, 99: None}
    assert sum(page.context["chart"]["series"][0]["values"]) == 1


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([], 50, None), ([7], 1, 7), ([7], 99, 7), ([1, 2], 50, 1), ([1, 2], 51, 2), ([3, 1, 2], 100, 3)],
)
def test_percentiles_are_of_the_nearest_rank(values: list[int], part: int, expected: int | None) -> None:
    assert percentile(values, part) == expected


def test_what_needs_attention_is_said_with_the_worst_first(alice_client: Client, acme: Tenant) -> None:
    assert alice_client.get(OVERVIEW).context["attention"] == []
    world.priced(acme)
    APIKeyFactory(tenant=acme, expires_at=clock.now() + timedelta(days=2))
    BudgetFactory(
        tenant=acme, name="Tokens", scope="tenant", limit_tokens=1_000, limit_nano=None, currency=""
    )
    UsageRecordFactory(tenant=acme, outcome="failed", prompt_tokens=900)
    page = alice_client.get(OVERVIEW)
    said = [(each.grade, each.text) for each in page.context["attention"]]
    assert [grade for grade, _text in said] == ["bad", "bad", "warn", "warn"]
    for text in ("The wallet is empty", "failed", "“Tokens” is used to 90 %", "1 key ends within a week"):
        assert any(text in each for _grade, each in said), said


def test_a_viewer_sees_sums_and_no_single_requests(dana_client: Client, charged: UsageRecord) -> None:
    page = dana_client.get(OVERVIEW)
    assert page.status_code == 200
    assert page.context["speed"] is None
    assert "wallet" not in page.content.decode()


def test_a_search_that_takes_too_long_is_a_sentence_on_a_whole_page(
    bob_client: Client, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    CallLogFactory(tenant=acme)
    monkeypatch.setattr(selectors, "TEXT_SEARCH_MS", 50)
    slow = selectors.containing

    def slowly(rows: Any, text: str, **span: Any) -> Any:
        return slow(rows, text, **span).annotate(nap=RawSQL("pg_sleep(5)::text", ()))

    monkeypatch.setattr(selectors, "containing", slowly)
    answer = bob_client.get(LOGS, {"q": "tenant"})
    assert answer.status_code == 200
    assert "The search took too long" in answer.content.decode()


# --- Models

MODELS = reverse("calls:models")


@pytest.fixture
def chatter(db: None) -> Any:
    """A model that everyone may chat with, on a deployment that has no replica."""
    model = ModelFactory(tenant=None, name="chatter", visibility="public", task="chat")
    return DeploymentFactory(version=ModelVersionFactory(model=model, tenant=None), tenant=None)


def test_a_model_is_shown_with_its_price_its_state_and_its_speed(
    alice_client: Client, acme: Tenant, chatter: Any
) -> None:
    page = alice_client.get(MODELS).content.decode()
    for text in ("chatter", "no engine", "not charged", "/v1/chat/completions"):
        assert text in page
    world.priced(acme, input_nano=2 * NANO, output_nano=8 * NANO)
    CallLogFactory(tenant=acme, model="chatter", duration_ms=321, first_token_ms=45)
    page = alice_client.get(MODELS).content.decode()
    assert f"{exact_money(2 * NANO, 'CNY')} / {exact_money(8 * NANO, 'CNY')}" in page
    assert "45 ms" in page
    assert "321 ms" in page


def test_a_viewer_sees_models_without_prices_and_speed(
    dana_client: Client, acme: Tenant, chatter: Any
) -> None:
    world.priced(acme)
    page = dana_client.get(MODELS).content.decode()
    assert "chatter" in page
    assert "CN¥" not in page
    assert "P95" not in page


def test_no_other_tenants_model_is_listed(alice_client: Client, globex: Tenant) -> None:
    model = ModelFactory(tenant=globex, name="globex-secret", task="chat")
    DeploymentFactory(version=ModelVersionFactory(model=model))
    page = alice_client.get(MODELS).content.decode()
    assert "globex-secret" not in page
    assert "No model is deployed" in page
