"""Make sure that invoices can be drawn as PDF: Pango, and a font with Chinese characters.

Exit status 0 when both are here (after installing Debian's packages where that can be done), or 3 with one sentence
on standard error: everything but PDFs works without them.
"""

import ctypes.util
import os
import shutil
import subprocess
import sys

LIBRARIES = ("pango-1.0", "pangoft2-1.0", "harfbuzz-subset")
PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fontconfig fonts-noto-cjk"
INSTALL = f"apt-get install -y --no-install-recommends {PACKAGES}"


def missing() -> list[str]:
    """What is not here: libraries by name, and `font`."""
    found = [name for name in LIBRARIES if ctypes.util.find_library(name) is None]
    return found if has_chinese_font() else [*found, "font"]


def has_chinese_font() -> bool:
    """Whether fontconfig knows a font with Chinese characters."""
    program = shutil.which("fc-list")
    if program is None:
        return False
    result = subprocess.run(
        [program, ":lang=zh-cn", "family"], capture_output=True, text=True, timeout=60, check=False
    )
    return bool(result.stdout.strip())


def install() -> bool:
    """Install Debian's packages; False where there is no apt-get or no right to."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("installing what PDFs need from Debian's packages …", file=sys.stderr)
    for command in (["apt-get", "update", "-q"], INSTALL.split()):
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        if result.returncode:
            print((result.stderr.strip().splitlines() or ["?"])[-1], file=sys.stderr)
    return True


def main() -> int:
    """Look, else install and look again."""
    if not missing() or (install() and not missing()):
        return 0
    print(
        f"Invoices cannot be made as PDF here, everything else works: install Pango and a Chinese font ({INSTALL}).",
        file=sys.stderr,
    )
    return 3


if __name__ == "__main__":
    sys.exit(main())
