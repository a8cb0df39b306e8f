"""Folders that PostgreSQL's own user can enter, and a platform of stand-ins."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
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
    # A helper that had left its group outlives a launcher that was killed itself: nobody is left to find it.
    for pid in platform.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
