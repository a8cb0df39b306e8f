"""Auditors, of a tenant and of the platform: they read the trail and what it speaks of, and write nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client

from access import policies
from access.policies import GRANTABLE_SCOPES, PERMISSIONS
from core.actors import Actor
from core.scoping import platform_scope
from models_registry import policies as registry
from tenants.models import Role, Tenant
from tests.api.client import REST
from tests.factories.access import APIKeyFactory
from tests.factories.accounts import UserFactory
from tests.factories.audit import AuditEventFactory
from tests.factories.safety import SECRET_WORD, ReviewFactory
from tests.factories.tenants import MembershipFactory

READ = {
    "tenants.tenant.read",
    "tenants.member.read",
    "tenants.plan.read",
    "tenants.limit.read",
    "access.key.read",
    "audit.event.read",
    "audit.trail.read",
    "billing.usage.read",
    "safety.rule.read",
    "safety.settings.read",
    "safety.hit.read",
    "safety.review.read",
    "safety.platform.read",
}
TENANTS = Actor(kind="person", label="x", role="auditor")
PLATFORMS = Actor(kind="person", label="x", platform_role="platform_auditor")


def test_what_they_may_do_is_this_and_reading_alone() -> None:
    assert policies.permissions_of(TENANTS) == READ
    assert policies.permissions_of(PLATFORMS) == READ | {"tenants.tenant.list_all", "accounts.user.read_all"}
    for permission in policies.permissions_of(PLATFORMS):
        assert permission.endswith((".read", ".read_all", ".list_all"))


def test_the_word_of_one_is_not_the_others() -> None:
    assert "auditor" not in PERMISSIONS["tenants.tenant.list_all"]
    assert "platform_auditor" not in Role.values


def test_they_give_no_key_a_scope_and_use_no_model() -> None:
    assert policies.grantable_scopes(TENANTS) == policies.grantable_scopes(PLATFORMS) == frozenset()
    assert not {"auditor", "platform_auditor"} & GRANTABLE_SCOPES.keys()
    for actor in (TENANTS, PLATFORMS):
        assert registry.by_role(actor) == frozenset()
        assert registry.effective(actor, is_own=True, to_tenant=registry.PERMISSIONS) == frozenset()
        assert not policies.can(actor, "inference.model.invoke")


@pytest.mark.django_db
class TestSurfaces:
    """Over REST and in the admin."""

    @pytest.fixture
    def auditor(self, acme: Tenant, sign_in: Callable[[Any], Client]) -> REST:
        """Acme's."""
        return REST(sign_in(MembershipFactory(tenant=acme, role="auditor").user))

    @pytest.fixture
    def inspector(self, db: None, sign_in: Callable[[Any], Client]) -> Client:
        """The platform's."""
        return sign_in(UserFactory(platform_role="platform_auditor"))

    def test_a_tenants_auditor_reads_its_trail_keys_and_members(
        self, acme: Tenant, globex: Tenant, auditor: REST
    ) -> None:
        key, event = APIKeyFactory(tenant=acme), AuditEventFactory(tenant=acme)
        foreign = AuditEventFactory(tenant=globex)
        assert auditor.get(f"/audit-events/{event.public_id}/").status_code == 200
        assert auditor.get(f"/audit-events/{foreign.public_id}/").status_code == 404
        shown = auditor.get(f"/keys/{key.public_id}/")
        assert shown.status_code == 200
        assert key.digest not in shown.content.decode()
        for path in ("/members/", "/limits/", "/plans/", "/usage/", "/audit/", f"/tenants/{acme.public_id}/"):
            assert auditor.get(path).status_code == 200, path
        assert auditor.post("/audit/verify/", {}).status_code == 200

    def test_a_tenants_auditor_reads_what_rules_did_and_not_the_texts(
        self, acme: Tenant, auditor: REST
    ) -> None:
        review = ReviewFactory(tenant=acme)
        for path in (
            "/safety/",
            "/safety/rules/",
            "/safety/word-lists/",
            "/safety/versions/",
            "/safety/hits/",
        ):
            assert auditor.get(path).status_code == 200, path
        shown = auditor.get(f"/safety/reviews/{review.public_id}/")
        assert shown.status_code == 200
        assert SECRET_WORD not in shown.content.decode()
        assert auditor.get(f"/safety/reviews/{review.public_id}/text/").status_code == 403
        assert (
            auditor.post(f"/safety/reviews/{review.public_id}/approve/", {"reason": "x"}).status_code == 403
        )
        assert auditor.post("/safety/rules/", {}).status_code == 403

    def test_a_tenants_auditor_does_nothing_else(self, acme: Tenant, auditor: REST) -> None:
        key = APIKeyFactory(tenant=acme)
        member = MembershipFactory(tenant=acme, role="viewer")
        for method, path in (
            ("post", "/keys/"),
            ("post", f"/keys/{key.public_id}/revoke/"),
            ("post", f"/keys/{key.public_id}/rotate/"),
            ("post", "/members/"),
            ("patch", f"/members/{member.public_id}/"),
            ("delete", f"/members/{member.public_id}/"),
            ("patch", f"/tenants/{acme.public_id}/"),
            ("post", f"/tenants/{acme.public_id}/close/"),
            ("post", "/limits/"),
            ("get", "/models/"),
            ("get", "/deployments/"),
            ("get", "/budgets/"),
            ("get", "/invoices/"),
        ):
            assert auditor.request(method, path, {}).status_code == 403, (method, path)

    def test_a_platforms_auditor_reads_all_trails_and_changes_nothing(
        self, acme: Tenant, inspector: Client
    ) -> None:
        rest = REST(inspector)
        event = AuditEventFactory(tenant=acme)
        assert rest.get(f"/audit-events/{event.public_id}/").status_code == 200
        assert rest.get(f"/tenants/{acme.public_id}/").status_code == 200
        assert rest.post("/audit/verify/", {}).status_code == 200
        for method, path in (
            ("post", f"/tenants/{acme.public_id}/suspend/"),
            ("post", "/tenants/"),
            ("post", "/plans/"),
            ("get", "/nodes/"),
            ("get", "/invoices/"),
        ):
            assert rest.request(method, path, {}).status_code == 403, (method, path)

    @pytest.mark.slow
    def test_a_platforms_auditor_sees_the_pages_that_are_for_them_and_no_other(
        self, acme: Tenant, inspector: Client
    ) -> None:
        seen = set()
        for model in admin.site._registry:
            answer = inspector.get(f"/admin/{model._meta.app_label}/{model._meta.model_name}/")
            assert answer.status_code in (200, 403), model
            if answer.status_code == 200:
                seen.add(model._meta.label)
                assert b'name="action"' not in answer.content or model._meta.label == "audit.AuditEvent"
        assert seen == {
            "access.APIKey",
            "accounts.User",
            "audit.AuditEvent",
            "billing.UsageRecord",
            "tenants.Limit",
            "tenants.Membership",
            "tenants.Plan",
            "tenants.Tenant",
        }

    def test_a_platforms_auditor_cannot_act_in_the_admin(self, acme: Tenant, inspector: Client) -> None:
        body = {"action": "suspend", "_selected_action": [str(acme.pk)], "reason": "because", "index": 0}
        inspector.post("/admin/tenants/tenant/", body, follow=True)
        with platform_scope(reason="tests"):
            assert Tenant.objects.get(pk=acme.pk).status == "active"
