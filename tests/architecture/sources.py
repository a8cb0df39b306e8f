"""The project's own source files, read once for all rules."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = ROOT / "platform"
DOMAINS = ("tenants", "models_registry", "inference", "billing")


def packages() -> list[Path]:
    """Our top-level packages: those in platform/ and the domains beside it."""
    cross_cutting = [folder for folder in sorted(PLATFORM.iterdir()) if folder.is_dir()]
    return [folder for folder in cross_cutting if not folder.name.startswith((".", "__"))] + [
        ROOT / name for name in DOMAINS
    ]


def own_packages() -> list[Path]:
    """As `packages`, without what an editable installation leaves there."""
    return [folder for folder in packages() if not folder.name.endswith(".egg-info")]


@cache
def sources() -> dict[str, ast.Module]:
    """All Python files of ours but migrations, by path from the root."""
    return {
        str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        for package in own_packages()
        for file in sorted(package.rglob("*.py"))
        if "migrations" not in file.parts
    }


def calls_of(tree: ast.Module, *names: str) -> list[ast.Call]:
    """Calls of functions or methods with one of `names`."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id in names)
            or (isinstance(node.func, ast.Attribute) and node.func.attr in names)
        )
    ]
