"""The edge of the data plane, empty streams, and a folder for exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.call_logs.conftest import _empty_streams
from tests.inference.conftest import edge, served

__all__ = ["_empty_streams", "edge", "served"]


@pytest.fixture(autouse=True)
def exports_dir(settings: Any, tmp_path: Path) -> Path:
    """Exports of each test lie apart."""
    settings.EXPORTS_DIR = tmp_path / "exports"
    return tmp_path / "exports"
