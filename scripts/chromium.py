"""Print the path of a Chromium for the browser tests, installing Debian's package where that can be done.

Exit status 0 with the path on standard output, or 3 with one sentence on standard error.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = "apt-get install -y --no-install-recommends chromium fonts-noto-cjk"


def find() -> str | None:
    """The first browser on the PATH, or the one that ATRIUM_CHROMIUM names."""
    candidates = (os.environ.get("ATRIUM_CHROMIUM", ""), *NAMES)
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def install() -> bool:
    """Install Debian's package; False where there is no apt-get, no right to, or no mirror."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("installing Chromium from Debian's packages …", file=sys.stderr)
    for command in (["apt-get", "update", "-q"], INSTALL.split()):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            print((result.stderr.strip().splitlines() or ["?"])[-1], file=sys.stderr)
    return True


def main() -> int:
    """Find, else install and find again."""
    path = find() or (find() if install() else None)
    if path:
        print(path)
        return 0
    print(
        f"\n*** THE BROWSER TESTS ARE SKIPPED: no Chromium on the PATH and none could be installed. Install one"
        f" ({INSTALL}) or name it with ATRIUM_CHROMIUM. ***\n",
        file=sys.stderr,
    )
    return 3


if __name__ == "__main__":
    sys.exit(main())
