"""Choose a Python that can run Atrium and hand over to installer.py.

Standard library only, and free of syntax that an old Python 3 does not know: on such a machine this file has to
get as far as saying so. `make run` and `make test` call it each time; when nothing changed it takes 0.2 s.
"""

import os
import subprocess
import sys

MINIMUM = (3, 11)
# Tried in this order when the Python that runs this file will not do: the one with the most mileage first.
CANDIDATES = ("python3.11", "python3.12", "python3.13", "python3.14")
PROBE = "import sys, venv, ensurepip; sys.exit(0 if sys.version_info >= (3, 11) else 1)"


def usable(python: str) -> bool:
    """Whether this interpreter is new enough and can make virtual environments."""
    try:
        with open(os.devnull, "w") as nowhere:
            return subprocess.call([python, "-c", PROBE], stdout=nowhere, stderr=nowhere) == 0
    except OSError:
        return False


def complain() -> int:
    """One sentence on what is wrong with the Pythons of this machine; returns the exit status."""
    from sentences import say

    version = ".".join(map(str, sys.version_info[:2]))
    key = "old-python" if sys.version_info[:2] < MINIMUM else "no-venv"
    # As bytes: an old Python in a plain terminal would stumble over Chinese.
    os.write(2, (say(key, version=version) + "\n").encode("utf-8"))
    return 1


def main() -> int:
    """Run the installer here, or in a newer Python of this machine, or say why neither can be."""
    if usable(sys.executable):
        from installer import main as install

        return install(sys.argv[1:])
    for name in CANDIDATES:
        if usable(name):
            os.execvp(name, [name, os.path.abspath(__file__), *sys.argv[1:]])
    return complain()


if __name__ == "__main__":
    sys.exit(main())
