"""`platform/` is a folder on the path, never a package (docs/adr/0001), and no name of ours hides another."""

from __future__ import annotations

import ast
import importlib.metadata
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.architecture.sources import PLATFORM, ROOT, own_packages, sources

OURS = {package.name for package in own_packages()}

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
# Longer for a reason that is given here.
LONGER_MODULES: dict[str, str] = {}
LONGER_FUNCTIONS: dict[str, str] = {}


def test_platform_is_a_folder_not_a_package() -> None:
    assert not (PLATFORM / "__init__.py").exists()
    assert list(PLATFORM.glob("*.py")) == []
    assert Path(platform.__file__ or "").parent == Path(sysconfig.get_path("stdlib"))
    assert platform.system()


def test_the_standard_library_wins_wherever_python_is_started() -> None:
    for folder in (ROOT, PLATFORM):
        found = subprocess.run(
            [sys.executable, "-c", "import platform; print(platform.system(), platform.__file__)"],
            cwd=folder,
            env={"PYTHONPATH": f"{PLATFORM}:{ROOT}", "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert str(ROOT) not in found.split()[1] or ".venv" in found


@pytest.mark.slow
def test_no_top_level_name_hides_another() -> None:
    """A loose platform/celery.py would be `celery` itself."""
    foreign = set(importlib.metadata.packages_distributions()) - _installed_from_here()
    assert OURS & set(sys.stdlib_module_names) == set()
    assert OURS & foreign == set()


def _installed_from_here() -> set[str]:
    """Names that our own editable installation provides."""
    return {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if set(owners) == {"atrium"}
    }


@pytest.mark.parametrize("package", own_packages(), ids=lambda package: package.name)
def test_every_package_says_what_lives_there(package: Path) -> None:
    for initial in package.rglob("__init__.py"):
        if "migrations" in initial.parts:
            continue
        assert ast.get_docstring(ast.parse(initial.read_text())), f"{initial} has no docstring"


@pytest.mark.parametrize("package", own_packages(), ids=lambda package: package.name)
def test_every_folder_with_code_is_a_package(package: Path) -> None:
    """A folder without __init__.py would become a namespace that anybody can add to."""
    folders = {file.parent for file in package.rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


@pytest.mark.slow
def test_nothing_is_named_after_nothing() -> None:
    empty_names = {"utils", "util", "helpers", "common", "misc", "stuff", "lib"}
    assert {path for path in sources() if empty_names & set(Path(path).with_suffix("").parts)} == set()


@pytest.mark.slow
def test_modules_stay_small() -> None:
    long = {path for path in sources() if len((ROOT / path).read_text().splitlines()) > MAX_MODULE_LINES}
    assert long == set(LONGER_MODULES)


@pytest.mark.slow
def test_functions_stay_small() -> None:
    long = {
        f"{path}:{node.name}"
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    }
    assert long == set(LONGER_FUNCTIONS)


@pytest.mark.slow
def test_every_public_function_and_class_says_what_it_means() -> None:
    silent = {
        f"{path}:{node.lineno} {node.name}"
        for path, tree in sources().items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    }
    assert silent == set()


def test_every_test_folder_is_a_package() -> None:
    """Two tests of one name in folders without __init__.py hide each other."""
    folders = {file.parent for file in (ROOT / "tests").rglob("test_*.py")}
    assert {str(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()
