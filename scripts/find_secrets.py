"""A hook: refuse files that hold what looks like a live credential. Names of files are the arguments."""

import re
import sys
from pathlib import Path

PATTERNS = {
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "Atrium API key": r"\batr-[A-Za-z0-9]{6,}[-_][A-Za-z0-9_-]{30,}",
    "cloud access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "provider key": r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
    "hub token": r"\b(?:hf|ghp|gho|glpat)[_-][A-Za-z0-9]{30,}",
    "password in a URL": r"\b(?:postgres(?:ql)?|rediss?)://[^\s:/@{}<>]+:(?!password@|pw@|secret@)[^\s:/@{}<>$]{8,}@",
}
# Tests of redaction are full of these.
MADE_UP_IN_TESTS = "password in a URL"
# A line that ends with this comment has been looked at.
ALLOWED = "not a secret"


def main(names: list[str]) -> int:
    """Print file, line and kind of each find; never the find itself."""
    status = 0
    for name in names:
        for number, line in enumerate(Path(name).read_text(errors="replace").splitlines(), 1):
            for kind, pattern in PATTERNS.items():
                if kind == MADE_UP_IN_TESTS and name.startswith("tests/"):
                    continue
                if re.search(pattern, line) and ALLOWED not in line:
                    print(f"{name}:{number}: looks like a {kind}")
                    status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
