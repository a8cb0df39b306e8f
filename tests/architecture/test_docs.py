"""The documents name what is there: folders, commands, settings, parameters, decisions, and each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inference.openai import parameters
from tests.architecture.sources import ROOT, own_packages

DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("[0-9]*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]
# Made by tools, not by us, and told apart by no dot in front.
FOREIGN_FOLDERS = {"node_modules", "test-results"}

_ROW = re.compile(r"^\| `([^`]+)/` \|", re.M)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
_MANAGE = re.compile(r"(?:manage\.py|launcher manage) ([a-z_]+)")
_MAKE = re.compile(r"(?:`|^)make ([a-z-]+)", re.M)
_VARIABLE = re.compile(r"`((?:ATRIUM|DATABASE|REDIS|WEB|VLLM|LOG)_[A-Z_]+|ENGINE|HOST|PORT)(?:=[^`]*)?`")


def name_of(document: Path) -> str:
    """The path from the root, for test ids."""
    return str(document.relative_to(ROOT))


def mapped() -> list[str]:
    """The folders that the map of the architecture page names."""
    text = (DOCS / "architecture.md").read_text()
    return _ROW.findall(text[text.index("\n## Map\n") :])


def folders_with_files(folder: Path) -> set[str]:
    """Folders of ours right below `folder` that hold a file, as paths from the root."""
    return {
        str(inner.relative_to(ROOT))
        for inner in folder.iterdir()
        if inner.is_dir()
        and not inner.name.startswith((".", "__"))
        and not inner.name.endswith(".egg-info")
        and inner.name not in FOREIGN_FOLDERS
        and any(file.is_file() and "__pycache__" not in file.parts for file in inner.rglob("*"))
    }


def test_the_map_names_folders_that_exist_and_each_once() -> None:
    assert [path for path in mapped() if not (ROOT / path).is_dir()] == []
    assert len(mapped()) == len(set(mapped()))


def test_every_folder_at_the_top_is_in_the_map() -> None:
    assert folders_with_files(ROOT) - set(mapped()) == set()


def test_every_package_of_ours_is_in_the_map() -> None:
    packages = {str(package.relative_to(ROOT)) for package in own_packages()}
    assert (packages | folders_with_files(ROOT / "inference")) - set(mapped()) == set()


def test_decisions_are_numbered_without_gap_or_repeat_and_listed() -> None:
    numbers = [int(page.name[:4]) for page in ADRS]
    listed = _LINK.findall((DOCS / "adr" / "README.md").read_text())
    assert numbers == list(range(1, len(numbers) + 1))
    assert sorted(listed) == [page.name for page in ADRS]


@pytest.mark.parametrize("document", ADRS, ids=name_of)
def test_a_decision_says_context_decision_evidence_and_consequences(document: Path) -> None:
    text = document.read_text()
    assert text.startswith(f"# {document.name[:4]} ")
    assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Decision", "Evidence", "Consequences"]


def test_the_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make run" in text
    assert "make test" in text


@pytest.mark.parametrize("document", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(document: Path) -> None:
    links = [link for link in _LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", PAGES, ids=name_of)
def test_commands_that_pages_name_exist(document: Path) -> None:
    from django.core.management import get_commands

    text = document.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(_MANAGE.findall(text)) - set(get_commands()) == set()
    assert set(_MAKE.findall(text)) - targets == set()


@pytest.mark.parametrize("document", PAGES, ids=name_of)
def test_settings_that_pages_name_are_read_somewhere(document: Path) -> None:
    code = "\n".join(
        file.read_text()
        for package in [*own_packages(), ROOT / "scripts"]
        for file in package.rglob("*.py")
        if "migrations" not in file.parts
    )
    named = set(_VARIABLE.findall(document.read_text()))
    assert {name for name in named if f'"{name}"' not in code} == set()


def test_the_page_of_the_api_names_every_parameter() -> None:
    text = (DOCS / "api.md").read_text()
    accepted = {*parameters.CHAT, *parameters.COMPLETION, *parameters.EMBEDDING}
    assert {name for name in accepted if f"`{name}`" not in text} == set()
