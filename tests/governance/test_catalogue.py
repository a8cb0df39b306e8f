"""The catalogue of data is whole: every model with a tenant and every name of a Valkey key in the code is in it."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from core import governance
from core.checks import WALLED, own_models
from core.governance import DataClass
from tests.architecture.sources import sources

CATALOGUE = governance.catalogue()
MODELS = {label for each in CATALOGUE.values() for label in each.models}
KEYS = [pattern for each in CATALOGUE.values() for pattern in each.keys]


def key_names() -> set[str]:
    """Every text in the code that begins as our Valkey keys do; what is filled in stands as `*`."""
    found = set()
    for tree in sources().values():
        inside = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(p.value) if isinstance(p, ast.Constant) else "*" for p in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                text = node.value
            else:
                continue
            if re.fullmatch(r"atrium:\S+", text):
                found.add(text)
    return found


def is_catalogued(name: str, patterns: list[str]) -> bool:
    """Whether a pattern covers a name; what a name ends with may go on."""
    for pattern in patterns:
        expression = re.escape(pattern).replace(r"\*", ".*")
        if re.fullmatch(expression, name) or (name.endswith(":") and re.match(expression, name + "x")):
            return True
    return False


# No key: `info` of a key derivation (core.encryption).
NO_KEYS = {"atrium:*"}


def test_every_model_with_a_tenant_is_in_the_catalogue() -> None:
    assert {model._meta.label for model in own_models(*WALLED)} - MODELS == set()


@pytest.mark.slow
def test_every_name_of_a_key_is_in_the_catalogue() -> None:
    names = key_names()
    assert "atrium:call-logs" in names
    assert {name for name in names - NO_KEYS if not is_catalogued(name, KEYS)} == set()


def test_control_a_model_or_key_that_is_left_out_is_noticed() -> None:
    without = [pattern for pattern in KEYS if pattern != "atrium:call-logs"]
    assert not is_catalogued("atrium:call-logs", without)
    assert not is_catalogued("atrium:new:*", KEYS)
    assert {model._meta.label for model in own_models(*WALLED)} - (MODELS - {"inference.CallLog"})


def test_every_class_says_what_becomes_of_it() -> None:
    for each in CATALOGUE.values():
        assert str(each.title), each.name
        assert str(each.holds), each.name
        assert str(each.retained), each.name
        assert each.kept or each.erase or each.models, f"{each.name} is neither erased nor kept"
        for label in each.models:
            governance.model_of(label)


def test_no_model_is_in_two_classes() -> None:
    labels = [label for each in CATALOGUE.values() for label in each.models]
    assert sorted(labels) == sorted(set(labels))


def test_a_name_is_taken_once() -> None:
    taken = CATALOGUE["chats"]
    governance.register(taken)
    with pytest.raises(ValueError, match="chats"):
        governance.register(DataClass(name="chats", title="x", holds="x", retained="x"))


def test_rows_that_point_to_others_go_first() -> None:
    order = [model._meta.label for model in governance.erasable_models()]
    assert (
        order.index("inference.ChatMessage")
        < order.index("inference.ChatSession")
        < order.index("access.APIKey")
    )
    assert order.index("models_registry.Deployment") < order.index("models_registry.ModelVersion")


@pytest.mark.parametrize("text", ["*", "a?b", "[x]", "{y}", "back\\slash"])
def test_a_pattern_of_valkey_takes_names_as_they_are(text: str, db: Any) -> None:
    """Attack 30."""
    from core.valkey import sync_client

    valkey = sync_client()
    name, other = f"tests:{text}:1", "tests:anything:1"
    valkey.set(name, "1")
    valkey.set(other, "1")
    assert governance.delete_keys(valkey, [f"tests:{governance.escaped(text)}:*"]) == 1
    assert valkey.exists(other) == 1
    valkey.delete(other)
