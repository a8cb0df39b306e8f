"""Support staff's desk: every page is read-only, behind the platform door, and in the trail; writes give a
reason.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from access.models import APIKey
from accounts.models import User
from audit.models import AuditEvent
from core.ids import new_id, public_id
from core.scoping import platform_scope
from core.staff import StaffAdmin
from tenants.models import Membership, Tenant
from tests.factories.access import APIKeyFactory
from tests.factories.accounts import UserFactory
from tests.factories.base import factory_of
from tests.factories.billing import UsageRecordFactory
from tests.factories.tenants import MembershipFactory

PAGES = sorted(admin.site._registry, key=lambda model: model._meta.label)
every_page = pytest.mark.parametrize("model", PAGES, ids=lambda model: model._meta.label)


def path_of(model: Any, page: str, *args: Any) -> str:
    """The address of a page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def row_of(model: Any, tenant: Tenant) -> Any:
    """A row to look at."""
    if model is Tenant:
        return tenant
    if model is User:
        return UserFactory()
    factory = factory_of(model)
    assert factory is not None
    return factory(tenant=tenant)


def trail(action: str) -> list[AuditEvent]:
    """The events of one action, the oldest first."""
    with platform_scope("tests"):
        return list(AuditEvent.objects.filter(action=action).order_by("id"))


def run(client: Client, model: Any, action: str, *rows: Any, reason: str = "asked by the owner") -> Any:
    """Run an action on some rows, as the list's form does."""
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows], "reason": reason, "index": 0}
    return client.post(path_of(model, "changelist"), body, follow=True)


def test_only_our_own_pages_are_there() -> None:
    assert PAGES
    for model, page in admin.site._registry.items():
        assert isinstance(page, StaffAdmin), model
    assert {model._meta.label for model in PAGES} >= {
        *("accounts.User", "access.APIKey", "audit.AuditEvent", "tenants.Tenant", "tenants.Membership"),
        *("models_registry.Model", "models_registry.ModelVersion", "models_registry.Alias"),
        *("models_registry.Deployment", "models_registry.TenantGrant", "billing.UsageRecord"),
    }


@pytest.mark.slow
@pytest.mark.matrix
@every_page
def test_staff_look_at_lists_and_rows(
    model: Any, olive_client: Client, sam_client: Client, acme: Tenant
) -> None:
    row = row_of(model, acme)
    for client in (olive_client, sam_client):
        listed = client.get(path_of(model, "changelist"))
        assert listed.status_code == 200
        assert str(row.pk) in listed.content.decode()
        shown = client.get(path_of(model, "change", row.pk))
        assert shown.status_code == 200
        assert row.public_id in shown.content.decode()
        # No field can be filled in: what is on the page is text.
        form = re.search(r"<form[^>]*_form.*?</form>", shown.content.decode(), re.S)
        assert not re.findall(
            r"<(?:textarea|select)\b|<input[^>]+type=\"(?:text|number|checkbox)", form[0] if form else ""
        )


@pytest.mark.slow
@pytest.mark.matrix
@every_page
def test_nothing_is_added_edited_or_deleted(model: Any, olive_client: Client, acme: Tenant) -> None:
    row = row_of(model, acme)
    assert olive_client.get(path_of(model, "add")).status_code == 403
    assert olive_client.post(path_of(model, "add"), {"name": "x"}).status_code == 403
    assert olive_client.post(path_of(model, "change", row.pk), {"name": "x", "slug": "x"}).status_code == 403
    assert olive_client.get(path_of(model, "delete", row.pk)).status_code == 403
    assert olive_client.post(path_of(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    deleted = run(olive_client, model, "delete_selected", row)
    assert deleted.status_code == 200
    with platform_scope("tests"):
        assert model._base_manager.filter(pk=row.pk).exists()


@pytest.mark.matrix
@every_page
def test_others_are_kept_out(model: Any, alice_client: Client, acme: Tenant) -> None:
    row = row_of(model, acme)
    for path in (path_of(model, "changelist"), path_of(model, "change", row.pk)):
        assert alice_client.get(path, follow=True).status_code == 403
        stranger = Client().get(path)
        assert stranger.status_code == 302
        assert stranger["Location"].startswith("/admin/login/")


@pytest.mark.matrix
@every_page
def test_each_page_is_in_the_trail_once(model: Any, sam: User, sam_client: Client, acme: Tenant) -> None:
    row = row_of(model, acme)
    path = path_of(model, "change", row.pk)
    sam_client.get(path)
    (event,) = trail("audit.platform.accessed")
    assert event.actor_id == sam.pk
    assert event.after == {"what": f"GET {path}"}


@pytest.mark.matrix
@every_page
def test_secrets_are_on_no_page(model: Any, olive_client: Client, acme: Tenant) -> None:
    hidden = {"password", "digest", "remote_credential", "key_digest", "body"} - {"digest"} | (
        {"digest"} if model is APIKey else set()
    )
    page = admin.site._registry[model]
    assert not hidden & {*page.fields, *page.list_display}
    row = row_of(model, acme)
    for path in (path_of(model, "changelist"), path_of(model, "change", row.pk)):
        text = olive_client.get(path).content.decode()
        for name in hidden:
            value = getattr(row, name, "")
            assert not value or str(value) not in text


@pytest.mark.slow
@pytest.mark.matrix
@every_page
def test_a_row_is_found_by_its_public_id(
    model: Any, sam_client: Client, acme: Tenant, globex: Tenant
) -> None:
    wanted, other = row_of(model, acme), row_of(model, globex)
    text = sam_client.get(path_of(model, "changelist"), {"q": f" {wanted.public_id} "}).content.decode()
    assert path_of(model, "change", wanted.pk) in text
    assert path_of(model, "change", other.pk) not in text
    nothing = public_id(model.id_prefix, new_id())
    assert (
        path_of(model, "change", wanted.pk)
        not in sam_client.get(path_of(model, "changelist"), {"q": nothing}).content.decode()
    )


@pytest.mark.slow
@pytest.mark.matrix
@every_page
def test_pages_speak_chinese(model: Any, olive_client: Client, acme: Tenant) -> None:
    row_of(model, acme)
    english = olive_client.get(path_of(model, "changelist"))
    chinese = olive_client.get(path_of(model, "changelist"), headers={"accept-language": "zh-hans"})
    assert chinese.status_code == 200
    assert chinese["Content-Language"] == "zh-hans"
    heading = r"<title>\s*(.*?)\s*</title>"
    titles = [re.search(heading, page.content.decode(), re.S) for page in (english, chinese)]
    assert titles[0]
    assert titles[1]
    assert titles[0][1] != titles[1][1]
    assert re.search(r"[\u4e00-\u9fff]", titles[1][1])


def test_the_start_page_and_the_search(olive_client: Client, acme: Tenant) -> None:
    assert olive_client.get("/admin/").status_code == 200
    assert olive_client.get("/admin/search/?s=key").status_code == 200
    assert olive_client.get("/admin/password_change/").status_code == 404
    assert "password_change" not in olive_client.get("/admin/").content.decode()


def test_staff_sign_in_through_the_console(alice_client: Client, sam_client: Client) -> None:
    stranger = Client().get("/admin/", follow=True)
    assert stranger.redirect_chain[-1][0].startswith("/console/")
    assert stranger.redirect_chain[-1][0].endswith("?next=/admin/")
    assert sam_client.get("/admin/login/?next=/admin/tenants/tenant/")["Location"] == "/admin/tenants/tenant/"
    assert sam_client.get("/admin/login/?next=https://evil.example/")["Location"] == "/admin/"
    assert Client().post("/admin/login/", {"username": "x", "password": "y"}).status_code == 302
    assert alice_client.get("/admin/login/").status_code == 403


def test_only_the_desk_may_evaluate_scripts(olive_client: Client, acme: Tenant) -> None:
    policy = olive_client.get("/admin/")["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in olive_client.get("/api/docs/")["Content-Security-Policy"]


def test_support_finds_a_key_by_what_was_pasted(sam_client: Client, acme: Tenant) -> None:
    key, other = APIKeyFactory(tenant=acme), APIKeyFactory(tenant=acme)
    for typed in (key.prefix, f"atr-{key.prefix}", f"atr-{key.prefix}-{'x' * 43}"):
        text = sam_client.get(path_of(APIKey, "changelist"), {"q": typed}).content.decode()
        assert path_of(APIKey, "change", key.pk) in text
        assert path_of(APIKey, "change", other.pk) not in text


def test_support_finds_a_request_by_its_id(sam_client: Client, acme: Tenant) -> None:
    record, other = UsageRecordFactory(tenant=acme), UsageRecordFactory(tenant=acme)
    path = path_of(type(record), "changelist")
    text = sam_client.get(path, {"q": record.request_id}).content.decode()
    assert str(record.pk) in text
    assert str(other.pk) not in text
    by_tenant = sam_client.get(path, {"q": "acme"}).content.decode()
    assert str(record.pk) in by_tenant


@pytest.mark.slow
def test_a_tenant_is_suspended_and_resumed_with_a_reason(
    olive_client: Client, olive: User, acme: Tenant
) -> None:
    run(olive_client, Tenant, "suspend", acme, reason="unpaid")
    (event,) = trail("tenants.tenant.suspended")
    assert (event.reason, event.actor_id, event.tenant_id) == ("unpaid", olive.pk, acme.pk)
    run(olive_client, Tenant, "resume", acme, reason="paid")
    assert [event.reason for event in trail("tenants.tenant.resumed")] == ["paid"]


def test_a_key_is_revoked_with_a_reason(olive_client: Client, acme: Tenant, globex: Tenant) -> None:
    keys = [APIKeyFactory(tenant=acme), APIKeyFactory(tenant=globex)]
    answer = run(olive_client, APIKey, "revoke", *keys, reason="found in a repository")
    assert "2 objects were changed" in answer.content.decode()
    events = trail("access.key.revoked")
    assert {event.tenant_id for event in events} == {acme.pk, globex.pk}
    assert {event.reason for event in events} == {"found in a repository"}


def test_a_members_role_is_changed_with_a_reason(olive_client: Client, acme: Tenant) -> None:
    member = MembershipFactory(tenant=acme, role="viewer")
    run(olive_client, Membership, "make_developer", member, reason="asked by the owner")
    with platform_scope("tests"):
        assert Membership.objects.get(pk=member.pk).role == "developer"
    (event,) = trail("tenants.member.role_changed")
    assert event.reason == "asked by the owner"


def test_people_are_locked_out_and_let_in(olive_client: Client) -> None:
    person = UserFactory()
    run(olive_client, User, "deactivate", person, reason="stolen laptop")
    assert not User.objects.get(pk=person.pk).is_active
    run(olive_client, User, "activate", person, reason="found")
    assert User.objects.get(pk=person.pk).is_active
    assert [event.reason for event in trail("accounts.user.deactivated")] == ["stolen laptop"]


@pytest.mark.parametrize("reason", ["", "   ", "x" * 2000])
def test_without_a_reason_nothing_is_done(olive_client: Client, acme: Tenant, reason: str) -> None:
    answer = run(olive_client, Tenant, "suspend", acme, reason=reason)
    assert answer.status_code == 200
    assert trail("tenants.tenant.suspended") == []


def test_what_a_service_refuses_is_told_and_stops_nothing_else(
    olive_client: Client, alice: User, acme: Tenant
) -> None:
    other = MembershipFactory(tenant=acme, role="developer")
    with platform_scope("tests"):
        last_owner = Membership.objects.get(user=alice)
    answer = run(olive_client, Membership, "make_viewer", last_owner, other)
    text = answer.content.decode()
    assert "needs an owner" in text
    assert "1 object was changed" in text
    with platform_scope("tests"):
        assert Membership.objects.get(pk=other.pk).role == "viewer"
        assert Membership.objects.get(pk=last_owner.pk).role == "owner"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "action"),
    [(Tenant, "suspend"), (APIKey, "revoke"), (Membership, "make_owner"), (User, "deactivate")],
)
def test_support_looks_and_does_not_touch(sam_client: Client, acme: Tenant, model: Any, action: str) -> None:
    row = row_of(model, acme)
    page = sam_client.get(path_of(model, "changelist")).content.decode()
    assert f'value="{action}"' not in page
    run(sam_client, model, action, row)
    changes = ("tenants.tenant.suspended", "access.key.revoked", "tenants.member.role_changed")
    assert not any(trail(name) for name in (*changes, "accounts.user.deactivated"))


def test_a_page_must_list_its_fields() -> None:
    from django.core.exceptions import ImproperlyConfigured

    class Careless(StaffAdmin):
        """Shows whatever is in the model."""

    with pytest.raises(ImproperlyConfigured):
        Careless(Tenant, admin.site)
