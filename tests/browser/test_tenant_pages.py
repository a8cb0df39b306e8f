"""The tenant's pages in the browser: flows from a click to the row, in both languages and widths; accessibility."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from access.models import APIKey
from access.selectors import key_by_secret
from core import clock
from core.scoping import tenant_scope
from tenants.models import Tenant
from tests.browser.conftest import Complaints, Site
from tests.browser.test_shell import overflow
from tests.factories.access import APIKeyFactory
from tests.factories.billing import UsageRecordFactory
from tests.factories.billing_centre import InvoiceFactory
from tests.factories.call_logs import CallLogFactory

Open = Callable[..., Page]
SignIn = Callable[[Page, Any], Page]
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
PAGES = (
    "",
    "keys/",
    "keys/new/",
    "members/",
    "usage/",
    "usage/?by=model",
    "logs/",
    "billing/",
    "billing/ledger/",
)


@pytest.fixture
def full(acme: Tenant) -> dict[str, Any]:
    """A tenant that has something on every page."""
    now = clock.now()
    for day in range(5):
        UsageRecordFactory(
            tenant=acme,
            finished_at=now - timedelta(days=day, minutes=5),
            prompt_tokens=1_000 * (day + 1),
            completion_tokens=500,
            charge_nano=10_000_000,
            hold_nano=20_000_000,
            currency="CNY",
        )
    return {
        "key": APIKeyFactory(tenant=acme, name="ci"),
        "log": CallLogFactory(
            tenant=acme, queue_ms=20, first_token_ms=80, duration_ms=900, completion_tokens=40
        ),
        "refused": CallLogFactory(tenant=acme, outcome="refused", error_code="rate_limit_exceeded"),
        "invoice": InvoiceFactory(tenant=acme),
    }


def test_a_key_is_made_copied_and_revoked(
    new_page: Open, sign_in_as: SignIn, alice: Any, acme: Tenant
) -> None:
    page = sign_in_as(new_page(), alice)
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_text("No key yet")).to_be_visible()
    page.get_by_role("link", name="New key").click()
    page.get_by_label("Name").fill("pipeline")
    page.get_by_label("Read through the management API").check()
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("[data-secret]").inner_text()
    page.get_by_role("button", name="Copy the secret").click()
    page.wait_for_function("async (wanted) => (await navigator.clipboard.readText()) === wanted", arg=secret)
    key = key_by_secret(secret)
    assert key is not None
    assert key.scopes == ["invoke", "read"]
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_text(secret)).to_have_count(0)
    page.get_by_role("button", name="Revoke the key …").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Revoke the key …").click()
    page.get_by_label("Reason, for the audit trail").fill("no longer needed")
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status")).to_contain_text("is revoked")
    with tenant_scope(acme.pk):
        assert APIKey.objects.get(pk=key.pk).revoked_at is not None


def test_the_log_is_searched_as_one_types_and_opens_a_story(
    new_page: Open, sign_in_as: SignIn, alice: Any, full: dict[str, Any]
) -> None:
    alice.language = "zh-hans"
    alice.save()
    page = sign_in_as(new_page(), alice)
    page.goto("/console/logs/")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("#logs-q").press_sequentially(full["log"].request_id)
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(full["log"].request_id))
    page.go_back()
    page.goto("/console/logs/?outcome=refused")
    page.locator("tbody a").click()
    expect(page.get_by_text("rate_limit_exceeded")).to_be_visible()
    expect(page.get_by_text("请等待限额重置")).to_be_visible()


def test_sums_change_without_a_new_page_and_are_drawn(
    new_page: Open, sign_in_as: SignIn, alice: Any, full: dict[str, Any]
) -> None:
    page = sign_in_as(new_page(), alice)
    page.goto("/console/usage/")
    expect(page.locator(".canvas svg")).to_be_visible()
    page.evaluate("window.stillHere = true")
    page.get_by_label("Summed up by").select_option("model")
    expect(page.locator("td code")).to_have_text("atrium-starter")
    expect(page.locator(".canvas svg")).to_have_count(1)
    assert page.evaluate("window.stillHere") is True
    expect(page).to_have_url(re.compile("by=model"))


@pytest.mark.parametrize(("width", "scheme", "language"), [(1440, "light", "en"), (390, "dark", "zh-hans")])
def test_every_page_fits_and_is_accessible(
    new_page: Open,
    sign_in_as: SignIn,
    alice: Any,
    full: dict[str, Any],
    site: Site,
    complaints: Complaints,
    width: int,
    scheme: str,
    language: str,
) -> None:
    alice.language = language
    alice.save()
    page = sign_in_as(new_page(width=width, scheme=scheme), alice)
    paths = [
        *PAGES,
        f"keys/{full['key'].public_id}/",
        f"logs/{full['log'].public_id}/",
        f"logs/{full['refused'].public_id}/",
        f"billing/invoices/{full['invoice'].public_id}/",
    ]
    for path in paths:
        page.goto(f"/console/{path}")
        assert overflow(page) <= 0, path
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (each["id"], [node["target"] for node in each["nodes"]])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], path
