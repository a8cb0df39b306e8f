"""The pure part of permissions: roles, scopes, names."""

from __future__ import annotations

import pytest

from core.actors import Actor, system
from core.errors import InvalidInput, NotAllowed
from models_registry import policies

OWNER = Actor(kind="person", label="x", role="owner")
OPERATOR = Actor(kind="person", label="x", platform_role="operator")
SUPPORT = Actor(kind="person", label="x", platform_role="support")


def test_the_platforms_own_things_are_operators_business() -> None:
    for permission in ("models_registry.model.register", "models_registry.alias.change"):
        policies.require_owner(OWNER, permission, is_platform=False)
        for actor in (OPERATOR, system("tests")):
            policies.require_owner(actor, permission, is_platform=True)
        for actor in (OWNER, SUPPORT, Actor(kind="key", label="x", scopes=frozenset({"manage"}))):
            with pytest.raises(NotAllowed):
                policies.require_owner(actor, permission, is_platform=True)


def test_permissions_have_one_name_here_and_one_at_guardian() -> None:
    for name in policies.PERMISSIONS:
        assert policies.from_codenames([policies.codename(name)]) == {name}
    assert policies.from_codenames(["add_model", "change_model", "delete_model", "nonsense"]) == set()
    with pytest.raises(InvalidInput):
        policies.codename("add")


def test_whatever_somebody_may_do_they_may_also_look() -> None:
    nobody = Actor(kind="person", label="x")
    assert policies.effective(nobody, is_own=False, to_member={"deploy"}) == {"view", "deploy"}
    assert policies.effective(nobody, is_own=True) == set()
    with pytest.raises(NotAllowed):
        policies.require(frozenset({"view"}), "invoke")
