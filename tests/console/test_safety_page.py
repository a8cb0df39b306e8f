"""Safety in the console: what holds, what was found, and the bench."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from core import clock
from tenants.models import Tenant
from tests.factories.safety import HitCountFactory, RuleFactory

SAFETY, TRY = reverse("tenant:safety"), reverse("tenant:safety-try")
HTMX = {"HX-Request": "true"}


@pytest.fixture
def rule(acme: Tenant) -> Any:
    """A word that is masked on its way to the model, in Acme's draft."""
    return RuleFactory(tenant=acme, kind="terms", terms=["heron"], action_in="mask", action_out="block")


@pytest.mark.parametrize(
    ("text", "direction", "said"),
    [
        ("the heron flies", "in", "It would go on like this"),
        ("the heron flies", "out", "It would be refused"),
        ("the crane flies", "in", "No rule finds anything"),
    ],
)
def test_the_bench_says_what_would_become_of_a_text(
    alice_client: Client, rule: Any, text: str, direction: str, said: str
) -> None:
    answer = alice_client.post(TRY, {"text": text, "direction": direction}, headers=HTMX)
    page = answer.content.decode()
    assert said in page
    assert "<html" not in page
    assert "no-store" in answer["Cache-Control"]
    if "like this" in said:
        assert "heron" not in page.partition("<pre")[2].partition("</pre>")[0]
        assert "4–9" in page


def test_without_scripts_the_bench_is_a_page_and_nonsense_is_refused(alice_client: Client, rule: Any) -> None:
    assert "<html" in alice_client.post(TRY, {"text": "x", "direction": "in"}).content.decode()
    for wrong in (
        {"text": "", "direction": "in"},
        {"text": "x", "direction": "up"},
        {"text": "x" * 50_001, "direction": "in"},
    ):
        assert alice_client.post(TRY, wrong).status_code == 422


def test_what_was_found_is_counted_for_this_tenant_alone(
    alice_client: Client, charlie_client: Client, acme: Tenant
) -> None:
    HitCountFactory(tenant=acme, rule="pii.email", count=1_234, day=clock.now().date())
    assert "1,234" in alice_client.get(SAFETY).content.decode()
    assert "pii.email" not in charlie_client.get(SAFETY).content.decode()


def test_a_viewer_sees_what_was_found_and_no_rules(dana_client: Client, rule: Any) -> None:
    page = dana_client.get(SAFETY).content.decode()
    assert "Nothing was found" in page
    assert rule.name not in page
    assert TRY not in page
    assert dana_client.post(TRY, {"text": "x", "direction": "in"}).status_code == 403
