"""Each app imports only those below it (pyproject.toml, import-linter)."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.sources import PLATFORM, ROOT, own_packages

LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path, config: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages on the path."""
    return subprocess.run(
        [str(LINT), "--config", str(config), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{PLATFORM}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_contract_is_kept() -> None:
    result = lint(ROOT, ROOT / "pyproject.toml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_package_of_ours_is_under_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(settings["root_packages"]) == {package.name for package in own_packages()}


@pytest.mark.slow
def test_control_an_import_upwards_is_found(tmp_path: Path) -> None:
    for name, code in (("lower", "import upper"), ("upper", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
    config = tmp_path / "layers.toml"
    config.write_text(
        '[tool.importlinter]\nroot_packages = ["lower", "upper"]\n'
        '[[tool.importlinter.contracts]]\nname = "layers"\ntype = "layers"\nlayers = ["upper", "lower"]\n'
    )
    result = subprocess.run(
        [str(LINT), "--config", str(config), "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "lower is not allowed to import upper" in result.stdout
