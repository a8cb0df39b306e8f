"""Role × action for every REST route, generated from the router and from the table of access.policies.

The handler is replaced by one that answers 299, so that what is tested is the door and nothing behind it.
"""

from __future__ import annotations

import importlib
from typing import Any
from unittest import mock

import pytest
from django.test import Client
from rest_framework.response import Response

from access.policies import PERMISSIONS
from api.permissions import SIGNED_IN, DeclaredPermission
from api.viewsets import ScopedViewSet
from config.api import router
from tests import database
from tests.api.client import REST, with_key
from tests.factories.accounts import UserFactory
from tests.factories.tenants import MembershipFactory, TenantFactory
from tests.isolation.rest import ABSENT, Entry, filled_in

ENTRIES = [Entry(prefix, viewset, router) for prefix, viewset, _name in router.registry]
ROLES = (
    "owner",
    "admin",
    "developer",
    "billing",
    "viewer",
    "auditor",
    "key:invoke",
    "key:read",
    "key:manage",
)
STAFF = ("operator", "support", "platform_auditor")
REACHED = 299


def actions(entry: Entry) -> list[tuple[str, str, str]]:
    """(action, method, path) of everything that a viewset does."""
    found = []
    for route, mapping in entry.routes:
        lookup = f"{entry.viewset.model.id_prefix}_{ABSENT}"
        path = route.url.format(prefix=entry.prefix, lookup=lookup, trailing_slash="/")
        for method, action in mapping.items():
            found.append((action, method, "/" + filled_in(path.removeprefix("^").removesuffix("$"))))
    return found


EVERYTHING = [(entry, *each) for entry in ENTRIES for each in actions(entry)]
IDS = [f"{entry}:{action}" for entry, action, _method, _path in EVERYTHING]


@pytest.fixture(scope="module")
def clients(django_db_setup: None, django_db_blocker: Any) -> Any:
    """A client in each role: a member of Acme, a key of Acme's, or staff. Made once: nothing here changes a row."""
    with django_db_blocker.unblock():
        acme = TenantFactory(slug="acme")
        made = {}
        for role in (*ROLES, *STAFF):
            if role.startswith("key:"):
                made[role] = with_key(acme, role.removeprefix("key:"))
                continue
            is_staff = role in STAFF
            user = (
                UserFactory(platform_role=role)
                if is_staff
                else MembershipFactory(tenant=acme, role=role).user
            )
            client = Client()
            client.force_login(user, backend="accounts.backends.ThrottledModelBackend")
            made[role] = REST(client)
        yield made
        database.empty_tables()


@pytest.fixture
def client_as(clients: Any, db: None) -> Any:
    """A client by its role."""
    return clients.__getitem__


def answered(entry: Entry, action: str, method: str, path: str, rest: REST) -> int:
    """The status, with the action itself replaced."""

    def reached(self: Any, request: Any, **kwargs: Any) -> Response:
        return Response(status=REACHED)

    with mock.patch.object(entry.viewset, action, reached):
        return int(rest.request(method, f"/api/v1{path}", {}).status_code)


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize(("entry", "action", "method", "path"), EVERYTHING, ids=IDS)
def test_each_role_reaches_what_the_table_gives_it(
    entry: Entry, action: str, method: str, path: str, client_as: Any
) -> None:
    permission = entry.viewset.permissions[action]
    granted, withheld = set(), set()
    for role in (*ROLES, *STAFF):
        is_staff = role in STAFF
        # A key's scope is asked before the table: reading keys change nothing whatever the row says.
        can = permission == SIGNED_IN or role in PERMISSIONS[permission]
        can = can and not (role == "key:read" and method not in ("get", "head"))
        can = can and role != "key:invoke"
        # Staff have no tenant of their own: what is inside one only is out of their reach here.
        needs_tenant = not getattr(entry.viewset, "platform_reason", None) and entry.viewset.needs_scope
        can = can and not (is_staff and needs_tenant)
        status = answered(entry, action, method, path, client_as(role))
        assert status == (REACHED if can else 403), f"{role} gets {status} from {method.upper()} {path}"
        (granted if can else withheld).add(role)
    assert granted, "nobody may do this"
    assert withheld, "everybody may do this"


@pytest.mark.matrix
@pytest.mark.parametrize(("entry", "action", "method", "path"), EVERYTHING, ids=IDS)
def test_strangers_reach_nothing(entry: Entry, action: str, method: str, path: str, db: None) -> None:
    assert answered(entry, action, method, path, REST(Client())) == 401


@pytest.mark.matrix
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_every_action_declares_a_permission_of_the_table(entry: Entry) -> None:
    declared = entry.viewset.permissions
    served = {action for action, _method, _path in actions(entry)}
    assert set(declared) == served, "permissions name exactly the actions that are served"
    assert set(declared.values()) <= {*PERMISSIONS, SIGNED_IN}


def test_an_action_that_declares_nothing_is_refused(client_as: Any) -> None:
    entry = next(entry for entry in ENTRIES if entry.prefix == "keys")
    without = {name: value for name, value in entry.viewset.permissions.items() if name != "list"}
    with mock.patch.object(entry.viewset, "permissions", without):
        assert answered(entry, "list", "get", "/keys/", client_as("owner")) == 403


def test_control_without_the_door_everybody_gets_in(client_as: Any) -> None:
    entry = next(entry for entry in ENTRIES if entry.prefix == "keys")
    with mock.patch.object(DeclaredPermission, "has_permission", return_value=True):
        assert answered(entry, "create", "post", "/keys/", client_as("viewer")) == REACHED


def test_every_rest_view_goes_through_the_door() -> None:
    importlib.import_module("config.api")

    def subclasses(kind: type) -> set[type]:
        return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))

    for viewset in subclasses(ScopedViewSet):
        assert viewset.permission_classes == [DeclaredPermission], viewset
