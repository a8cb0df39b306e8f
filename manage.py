#!/usr/bin/env python
"""Atrium's command line. `platform/` is a folder on the path, never a package (docs/adr/0001)."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "platform"))


def main() -> None:
    """Run a management command: beside a running platform with its environment, with local settings by default."""
    from launcher.home import join_running_platform

    join_running_platform()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
