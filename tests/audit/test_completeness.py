"""Every administrative act leaves an event: read off the code of the services, which are the only writers."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from django.test import Client, RequestFactory

from access.services import keys
from accounts.models import User
from accounts.services import users
from audit.models import AuditEvent
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant
from tests.api.client import REST
from tests.architecture.sources import sources
from tests.factories.access import APIKeyFactory

# What writes an event by itself.
WRITERS = {"record", "record_platform_access", "record_export", "record_view"}
# Functions of services that take an actor and write no event, each with its reason.
EXCUSED = {
    "billing/services/ledger.py:move": "a ledger is its own trail; the acts behind it write their events",
    "billing/services/ledger.py:post": "a ledger is its own trail; the acts behind it write their events",
    "inference/chat/services.py:ask": "use of a model, in the usage records",
    "inference/chat/services.py:ask_again": "use of a model, in the usage records",
    "inference/chat/services.py:create": "use of a model, no administration",
    "inference/chat/services.py:reopen": "use of a model, in the usage records",
    "inference/chat/services.py:update": "one's own chat, no administration",
    "platform/safety/services/bench.py:compare": "a trial that changes nothing and keeps no text",
    "platform/safety/services/bench.py:try_text": "a trial that changes nothing and keeps no text",
}


def is_service(path: str) -> bool:
    """Files of services, wherever an app keeps them."""
    return "/services/" in path or path.endswith("/services.py")


def functions(trees: dict[str, ast.Module]) -> dict[str, ast.FunctionDef]:
    """Module-level functions of services, by file and name."""
    return {
        f"{path}:{node.name}": node
        for path, tree in trees.items()
        if is_service(path)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def imported(path: str, tree: ast.Module) -> dict[str, str]:
    """Local name → where it comes from: a file of services, or a function in one ("file:name")."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = alias.asname or alias.name
                base = node.module.replace(".", "/")
                for root in ("", "platform/"):
                    found[f"{name}|{root}module"] = f"{root}{base}/{alias.name}.py"
                    found[f"{name}|{root}function"] = f"{root}{base}.py:{alias.name}"
    return found


def called(path: str, node: ast.FunctionDef, names: dict[str, str]) -> set[str]:
    """What a function calls: "record" for whatever writes an event, and functions of services as "file:name"."""
    calls = set()
    for each in ast.walk(node):
        if not isinstance(each, ast.Call):
            continue
        target = each.func
        if isinstance(target, ast.Name):
            calls |= {"record"} if target.id in WRITERS else {f"{path}:{target.id}"}
            calls |= {names.get(f"{target.id}|{root}function", "") for root in ("", "platform/")}
        elif isinstance(target, ast.Attribute):
            owner = ast.unparse(target.value)
            is_signal = (owner, target.attr) == ("account_changed", "send")
            if is_signal or (target.attr in WRITERS and owner.split(".")[0] == "audit"):
                calls.add("record")
            for root in ("", "platform/"):
                calls.add(f"{names.get(f'{owner}|{root}module', '')}:{target.attr}")
    return calls


def silent(trees: dict[str, ast.Module]) -> set[str]:
    """Public functions of services with an `actor` that lead to no event, neither themselves nor by what they call."""
    found = functions(trees)
    origins = {path: imported(path, tree) for path, tree in trees.items() if is_service(path)}
    calls = {
        name: called(name.split(":")[0], node, origins[name.split(":")[0]]) for name, node in found.items()
    }
    writing = {name for name in calls if "record" in calls[name] or name.split(":")[1] in WRITERS}
    while more := {name for name in calls if name not in writing and calls[name] & writing}:
        writing |= more
    return {
        name
        for name, node in found.items()
        if name not in writing
        and not node.name.startswith("_")
        and "actor" in {each.arg for each in (*node.args.args, *node.args.kwonlyargs)}
    }


@pytest.mark.slow
def test_every_service_that_takes_an_actor_writes_an_event() -> None:
    found = silent(sources())
    assert found - EXCUSED.keys() == set(), "write an audit event, or say here why not"
    assert EXCUSED.keys() - found == set(), "no longer silent: take it off the list"


def test_control_a_service_that_forgets_its_event_is_named() -> None:
    tree = ast.parse(
        "def _tell(actor): audit.record('x', actor=actor)\n"
        "def change(*, actor): save()\n"
        "def remove(*, actor): _tell(actor)\n"
        "def count(): pass\n"
    )
    assert silent({"things/services/things.py": tree}) == {"things/services/things.py:change"}


@pytest.mark.parametrize("name", ["access/services/keys.py:revoke", "tenants/services/members.py:remove"])
def test_control_without_its_record_a_real_service_is_named(name: str) -> None:
    path = next(path for path in sources() if path.endswith(name.split(":")[0]))
    text = ast.unparse(sources()[path]).replace("audit.record(", "print(")
    found = silent({**sources(), path: ast.parse(text)})
    assert any(each.endswith(name) for each in found)


@pytest.mark.django_db
class TestEvents:
    """Acts of which the code of a service says nothing."""

    def actions(self, tenant: Tenant | None = None) -> list[str]:
        """What the trail of one tenant, or of the platform, says."""
        with platform_scope(reason="tests"):
            found = AuditEvent.objects.filter(tenant=tenant).order_by("id")
            return list(found.values_list("action", flat=True))

    def test_a_sign_in_at_no_account_is_in_the_platforms_trail_without_what_was_typed(self, db: None) -> None:
        from django.contrib.auth import authenticate

        request = RequestFactory().post("/", REMOTE_ADDR="203.0.113.77")
        authenticate(request, username="nobody-of-that-name@example.org", password="hunter2-hunter2")
        with platform_scope(reason="tests"):
            event = AuditEvent.objects.get(action="accounts.session.refused_unknown")
        assert (event.tenant_id, event.address) == (None, "203.0.113.77")
        assert "nobody" not in str(vars(event))
        assert "hunter2" not in str(vars(event))

    def test_a_change_of_a_password_is_in_the_trail(self, alice: User, actor_of: Any) -> None:
        users.set_password(user=alice, actor=actor_of(alice, "owner"), password="quite-another-8472")
        assert "accounts.user.password_set" in self.actions()

    def test_keys_are_in_the_trail_from_making_to_end(self, acme: Tenant, alice: User, actor_of: Any) -> None:
        owner = actor_of(alice, "owner")
        with tenant_scope(acme.pk):
            key, _secret = keys.create(actor=owner, name="program")
            keys.rotate(key=key, actor=owner)
            keys.revoke(key=key, actor=owner)
        assert self.actions(acme) == ["access.key.created", "access.key.rotated", "access.key.revoked"]

    def test_staff_who_look_at_a_tenants_object_over_rest_stand_in_its_trail(
        self, acme: Tenant, olive_client: Client, alice_client: Client
    ) -> None:
        """Attack 34: what staff do across a wall is seen by the tenant; what its own people look at is not kept."""
        event = REST(olive_client).get(f"/tenants/{acme.public_id}/")
        assert event.status_code == 200
        assert self.actions(acme) == ["audit.object.viewed"]
        assert "audit.platform.accessed" in self.actions()
        assert REST(alice_client).get(f"/tenants/{acme.public_id}/").status_code == 200
        assert self.actions(acme) == ["audit.object.viewed"]

    def test_staff_who_look_at_a_tenants_object_in_the_admin_stand_in_its_trail(
        self, acme: Tenant, sam_client: Client
    ) -> None:
        key = APIKeyFactory(tenant=acme)
        assert sam_client.get(f"/admin/access/apikey/{key.pk}/change/").status_code == 200
        with platform_scope(reason="tests"):
            event = AuditEvent.objects.get(tenant=acme)
        assert (event.action, event.target_id, event.actor_role) == (
            "audit.object.viewed",
            key.public_id,
            "support",
        )

    def test_data_that_is_taken_away_is_in_the_trail(self, acme: Tenant, alice_client: Client) -> None:
        for path in (
            "/usage/export/?file=csv&model=x",
            "/audit-events/export/?file=jsonl",
            "/audit/export/",
        ):
            assert REST(alice_client).get(path).status_code == 200
        with platform_scope(reason="tests"):
            events = list(AuditEvent.objects.filter(tenant=acme, action="audit.data.exported").order_by("id"))
        assert [event.after["what"] for event in events] == [
            "usage as csv",
            "audit events as jsonl",
            "audit trail with proof",
        ]
        assert events[0].after["query"] == {"file": "csv", "model": "x"}
