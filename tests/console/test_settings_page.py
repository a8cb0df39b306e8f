"""The tenant's settings: name, data policy, and the copy of all data."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from core.scoping import tenant_scope
from inference.models import LogPolicy
from tenants.models import Tenant, TenantExport

SETTINGS, NAME, POLICY, EXPORT, STATES = (
    reverse(f"calls:{name}") for name in ("settings", "tenant-name", "log-policy", "export", "export-states")
)
GOOD = {"level": "full", "sample_percent": "50", "retention_days": "7"}


def test_the_policy_that_is_sent_is_the_one_in_force(alice_client: Client, acme: Tenant) -> None:
    assert "Facts and redacted summaries" in alice_client.get(SETTINGS).content.decode()
    alice_client.post(POLICY, GOOD)
    with tenant_scope(acme.pk):
        policy = LogPolicy.objects.get()
    assert (policy.level, policy.sample_percent, policy.retention_days) == ("full", 50, 7)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"level": "everything"}, "level"),
        ({"sample_percent": "101"}, "sample_percent"),
        ({"retention_days": "0"}, "retention_days"),
        ({"retention_days": ""}, "retention_days"),
    ],
)
def test_what_cannot_be_is_said_beside_its_field(
    alice_client: Client, acme: Tenant, wrong: dict[str, str], field: str
) -> None:
    answer = alice_client.post(POLICY, GOOD | wrong)
    assert answer.status_code == 422
    assert field in answer.context["policy"].errors
    with tenant_scope(acme.pk):
        assert not LogPolicy.objects.exists()


def test_the_tenant_is_renamed_and_a_bad_name_is_not(alice_client: Client, acme: Tenant) -> None:
    alice_client.post(NAME, {"name": "Acme & Söhne"})
    assert "Acme &amp; Söhne" in alice_client.get(SETTINGS).content.decode()
    assert alice_client.post(NAME, {"name": " "}).status_code == 422


def test_an_export_is_asked_for_once_or_twice_and_no_more(
    alice_client: Client, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("tenants.services.exports.enqueue", lambda *args, **kwargs: asked.append(kwargs))
    for _ in range(2):
        alice_client.post(EXPORT)
    page = alice_client.post(EXPORT, follow=True).content.decode()
    assert "being made already" in page
    assert 'hx-trigger="every 2s"' in page, "the page follows its progress"
    assert len(asked) == 2
    with tenant_scope(acme.pk):
        TenantExport.objects.update(state="done", size_bytes=2_048)
    part = alice_client.get(STATES).content.decode()
    assert "every 2s" not in part, "and stops asking"
    assert part.count("/download/") == 2


def test_a_viewer_reads_the_policy_and_changes_nothing(dana_client: Client, acme: Tenant) -> None:
    page = dana_client.get(SETTINGS).content.decode()
    assert "Facts and redacted summaries" in page
    assert '<form class="stack' not in page
    for url, given in ((POLICY, GOOD), (NAME, {"name": "x"}), (EXPORT, {}), (STATES, None)):
        answer = dana_client.get(url) if given is None else dana_client.post(url, given)
        assert answer.status_code == 403
