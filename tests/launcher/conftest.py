"""Folders that PostgreSQL's own user can enter, and a platform of stand-ins."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launcher.platform_standin import Standin


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that others may pass through: pytest's own are closed and long."""
    path = Path(tempfile.mkdtemp(prefix="al-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def standin(folder: Path) -> Iterator[Standin]:
    """Not started yet; ended with the test."""
    platform = Standin(folder)
    yield platform
    if platform.process:
        platform.stop()
