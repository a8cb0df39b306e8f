"""Attack 19: other sites can neither act for a person nor read what they see; names and texts run no script."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests.factories.access import APIKeyFactory
from tests.factories.call_logs import CallLogFactory
from tests.factories.models_registry import AliasFactory

pytestmark = pytest.mark.django_db

SCRIPT = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
ELSEWHERE = "https://evil.example"
PAGES = ("/console/", "/console/playground/")


def test_no_other_site_is_told_that_it_may_read(alice_client: Client) -> None:
    for path in (*PAGES, "/api/v1/me/", "/api/v1/keys/", "/v1/models"):
        for method in ("get", "options"):
            answer = getattr(alice_client, method)(path, headers={"origin": ELSEWHERE})
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")], path


def test_no_other_site_can_act_for_a_person(alice: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="accounts.backends.ThrottledModelBackend")
    body = {"name": "stolen", "scopes": ["invoke"]}
    assert client.get("/api/docs/").status_code == 200
    token = client.cookies["csrftoken"].value
    for headers in ({}, {"origin": ELSEWHERE, "x-csrftoken": token}, {"origin": ELSEWHERE}):
        answer = client.post("/api/v1/keys/", body, content_type="application/json", headers=headers)
        assert answer.status_code == 403, headers
    own = client.post("/api/v1/keys/", body, content_type="application/json", headers={"x-csrftoken": token})
    assert own.status_code == 201, "the control: the person can"
    assert settings.SESSION_COOKIE_SAMESITE in ("Lax", "Strict")
    assert settings.SESSION_COOKIE_HTTPONLY


@pytest.mark.slow
def test_names_and_texts_are_shown_and_not_run(
    acme: Tenant, alice: Any, alice_client: Client, olive_client: Client
) -> None:
    with platform_scope("tests"):
        Tenant.objects.filter(pk=acme.pk).update(name=SCRIPT[:100])
    get_user_model().objects.filter(pk=alice.pk).update(name=SCRIPT)
    with tenant_scope(acme.pk):
        APIKeyFactory(tenant=acme, name=SCRIPT[:60])
        CallLogFactory(tenant=acme, prompt_summary=SCRIPT, response_summary=SCRIPT, user_agent=SCRIPT[:100])
        AliasFactory(tenant=acme, name="harmless")
    seen = 0
    pages = [(alice_client, path) for path in PAGES]
    lists = ("tenants_tenant", "access_apikey", "accounts_user", "inference_calllog")
    pages += [(olive_client, reverse(f"admin:{name}_changelist")) for name in lists]
    for client, path in pages:
        answer = client.get(path)
        assert answer.status_code == 200, path
        page = answer.content.decode()
        seen += page.count("&lt;script&gt;alert(1)") + page.count("&lt;script&gt;")
        assert "<script>alert" not in page, path
        assert not re.search(r"<img src=x", page), path
        policy = answer.headers["Content-Security-Policy"]
        assert "'unsafe-inline'" not in policy.split("style-src")[0], "a script that got in would not run"
    assert seen, "the control: the names are on the pages"
