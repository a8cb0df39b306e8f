"""The table of permissions: well-formed, and read as it is meant."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from access import policies
from access.policies import GRANTABLE_SCOPES, PERMISSIONS
from core.actors import Actor, system
from core.errors import NotAllowed
from tenants.models import Role

ROLES = set(Role.values)
STAFF = {"operator", "support", "platform_auditor"}
KEYS = {"key:invoke", "key:read", "key:manage"}


def member(role: str) -> Actor:
    """Somebody of a role."""
    return Actor(kind="person", label="x", id=UUID(int=1), role=role)


def staff(role: str) -> Actor:
    """Somebody of the platform's staff."""
    return Actor(kind="person", label="x", id=UUID(int=1), platform_role=role)


def key(*scopes: str, role: str = "") -> Actor:
    """A program."""
    return Actor(kind="key", label="x", id=UUID(int=1), scopes=frozenset(scopes), role=role)


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_every_row_is_well_formed(permission: str) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+\.[a-z_]+", permission)
    assert PERMISSIONS[permission] <= ROLES | STAFF | KEYS
    assert PERMISSIONS[permission]


@pytest.mark.parametrize(
    "permission", [name for name in PERMISSIONS if name.endswith((".read", ".read_all", ".list_all"))]
)
def test_support_may_read_everything(permission: str) -> None:
    assert policies.can(staff("support"), permission)


@pytest.mark.parametrize(
    "permission",
    [name for name in PERMISSIONS if not name.endswith((".read", ".read_all", ".list_all", ".invoke"))],
)
def test_who_only_looks_changes_nothing(permission: str) -> None:
    looking = [member("viewer"), staff("support"), key("read"), key("invoke")]
    if permission != "billing.budget.change":  # what is spent is the payers' business
        looking.append(member("billing"))
    for actor in looking:
        assert not policies.can(actor, permission)
        with pytest.raises(NotAllowed):
            policies.require(actor, permission)


@pytest.mark.parametrize("permission", [name for name in PERMISSIONS if name.startswith("tenants.member.")])
def test_no_key_changes_members(permission: str) -> None:
    assert policies.can(key("manage"), permission) == permission.endswith(".read")


def test_roles_contain_one_another() -> None:
    for permission, words in PERMISSIONS.items():
        assert "owner" in words or "admin" not in words, permission
        assert "admin" in words or "developer" not in words, permission


def test_owners_are_managed_by_owners_and_operators_alone() -> None:
    assert PERMISSIONS["tenants.owner.manage"] == {"owner", "operator"}


def test_the_system_may_everything() -> None:
    assert policies.permissions_of(system("job")) == set(PERMISSIONS)


def test_nobody_may_nothing() -> None:
    assert policies.permissions_of(Actor(kind="person", label="x")) == frozenset()


def test_a_keys_scopes_count_and_nothing_else() -> None:
    """A key that somehow carried a role would not gain by it."""
    assert policies.permissions_of(key("read", role="owner")) == policies.permissions_of(key("read"))
    assert policies.can(key("invoke"), "inference.model.invoke")
    assert not policies.can(key("manage"), "inference.model.invoke")


def test_a_permission_that_the_table_does_not_know_is_our_mistake() -> None:
    for actor in (member("owner"), system("job")):
        with pytest.raises(KeyError):
            policies.can(actor, "access.key.creat")


def test_grantable_scopes_are_never_more_than_the_role() -> None:
    assert policies.grantable_scopes(member("developer")) == {"invoke", "read"}
    assert policies.grantable_scopes(member("viewer")) == frozenset()
    assert policies.grantable_scopes(member("billing")) == frozenset()
    assert policies.grantable_scopes(staff("support")) == frozenset()
    assert policies.grantable_scopes(key("read")) == {"read"}
    assert policies.grantable_scopes(system("job")) == {"invoke", "read", "manage"}
    for role, scopes in GRANTABLE_SCOPES.items():
        actor = staff(role) if role in STAFF else member(role)
        for scope in scopes - {"invoke"}:
            # The role may do whatever a key of the scope may do.
            assert policies.permissions_of(key(scope)) <= policies.permissions_of(actor), (role, scope)
