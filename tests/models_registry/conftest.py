"""Model roots of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Path:
    """The one folder from which models may be loaded."""
    folder = tmp_path / "roots" / "models"
    folder.mkdir(parents=True)
    settings.MODEL_ROOTS = [folder]
    return folder
