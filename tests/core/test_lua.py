"""Scripts out of a library: what they need is in them, in the library's order, and nothing else."""

from __future__ import annotations

import re

import pytest

from core.lua import linked
from core.valkey import sync_client
from inference.admission import scripts as admission
from inference.queue import lua, scripts

LIBRARY = """
local LIMIT = 7
-- Adds.
local function add(a, b) return a + b end
local function early(x)
  if x then return end
  return add(LIMIT, 1)
end
local function late(x)
  early(x)
  return add(x, LIMIT)
end
local function never() return 0 end
"""


@pytest.mark.parametrize(
    ("body", "functions"),
    [
        ("return add(1, 2)", ["add"]),
        ("return late(1)", ["add", "early", "late"]),
        ("return LIMIT", []),
        ("local adds = 1 return adds", []),
    ],
)
def test_a_script_holds_what_it_names_and_what_that_names(body: str, functions: list[str]) -> None:
    text = linked(LIBRARY, body)
    assert re.findall(r"local function (\w+)", text) == functions
    assert "local LIMIT = 7" in text
    assert text.endswith(body)


def test_what_is_left_out_leaves_nothing_behind() -> None:
    assert linked(LIBRARY, "return add(1, 2)") == (
        "\nlocal LIMIT = 7\nlocal function add(a, b) return a + b end\nreturn add(1, 2)"
    )
    assert sync_client().eval(linked(LIBRARY, "return late(5)"), 0) == 12


@pytest.mark.parametrize(
    "name", ["ENQUEUE", "PULL", "CHARGE", "FINISH", "CANCEL", "REQUEUE", "STATUS", *admission.BODIES]
)
def test_no_script_lacks_a_function_of_its_library(name: str) -> None:
    """A name that a script calls and does not hold would be found when that line runs, which may be rarely."""
    if name in admission.BODIES:
        library, text = (
            admission.texts("a" * 40)["same"] + admission._PRELUDE,
            admission.texts("a" * 40)[name],
        )
    else:
        library, text = lua.COMMON, getattr(scripts, name)
    held = set(re.findall(r"local function (\w+)", text))
    assert {
        found for found in re.findall(r"local function (\w+)", library) if re.search(rf"\b{found}\(", text)
    } <= held
