"""Run the checks and tests behind `make test`, `make quick` and `make check`, one after the other.

All parts run even when an early one fails; what failed is said again at the end, the exit status is 1 then, and
the last line counts: each check that is not a test run counts as one.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTHON_FOLDERS = ["platform", "tenants", "models_registry", "inference", "billing"]
NO_TESTS_COLLECTED = 5
SUMMARY = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed)\b")


@dataclass
class Part:
    """One check: a command, and whether it needs the servers and reports tests."""

    command: list[str]
    tests: bool = False
    servers: bool = False
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of a part."""

    ok: bool
    seconds: float
    counts: dict[str, int]


def tool(name: str, *arguments: str) -> Part:
    """A program of the virtual environment."""
    return Part([str(BIN / name), *arguments])


def manage(*arguments: str) -> Part:
    """A management command, on real servers."""
    return Part([sys.executable, "manage.py", *arguments], servers=True)


def pytest(*arguments: str) -> Part:
    """A part of the tests."""
    return Part([sys.executable, "-m", "pytest", "-q", *arguments], tests=True, servers=True)


STATIC = {
    "format": tool("ruff", "format", "--check", "."),
    "lint": tool("ruff", "check", "."),
    "types": tool("mypy", *PYTHON_FOLDERS),
    "types of scripts": Part([str(BIN / "mypy"), "scripts"], environment={"MYPYPATH": "scripts"}),
    "layers": tool("lint-imports", "--no-cache"),
    "django": manage("check", "--fail-level", "WARNING"),
    "migrations": manage("makemigrations", "--check", "--dry-run"),
    "templates": tool("djlint", "--lint", "--quiet", "templates"),
    "spelling": tool("codespell"),
    "catalogues": Part([sys.executable, "scripts/catalogues.py", "check"]),
}
TESTS = {
    "quick tests": pytest("-n", "2", "-m", "not engine and not browser and not stack"),
    "engine tests": pytest("-m", "engine and not browser and not stack"),
    "stack tests": pytest("-m", "stack and not browser"),
    # Their server ends with its thread, in the middle of what it does: connections left open then are no leak.
    "browser tests": pytest(
        "-m",
        "browser",
        *("-W", "default::ResourceWarning", "-W", "default::pytest.PytestUnraisableExceptionWarning"),
    ),
}
SETS = {
    "static": list(STATIC),
    "quick": [*STATIC, "quick tests"],
    "all": [*STATIC, *TESTS],
}


def run(name: str, part: Part) -> Outcome:
    """Run one part with its output shown as it comes."""
    print(
        f"\n=== {name}: {' '.join(Path(word).name if word.startswith('/') else word for word in part.command)}",
        flush=True,
    )
    began = time.monotonic()
    environment = {**os.environ, **part.environment}
    lines: list[str] = []
    with subprocess.Popen(
        part.command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            lines = [*lines[-20:], line]
    status = process.returncode
    seconds = time.monotonic() - began
    if not part.tests:
        ok = status == 0
        return Outcome(ok, seconds, {"passed": int(ok), "failed": int(not ok)})
    counts: dict[str, int] = {}
    for number, word in SUMMARY.findall(lines[-1] if lines else ""):
        counts["failed" if word.startswith("error") else word] = counts.get(word, 0) + int(number)
    ok = status in {0, NO_TESTS_COLLECTED}
    if not ok and not counts.get("failed"):
        counts["failed"] = 1  # it did not even come to a summary
    return Outcome(ok, seconds, counts)


def browser() -> str | None:
    """A Chromium's path, or None after the finder has said loudly that there is none."""
    result = subprocess.run(
        [sys.executable, "scripts/chromium.py"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else None


def main(arguments: list[str]) -> int:
    """Run a set (static, quick, all) or single parts by name."""
    names = [name for argument in arguments or ["all"] for name in SETS.get(argument, [argument])]
    parts = {**STATIC, **TESTS}
    if unknown := [name for name in names if name not in parts]:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join([*SETS, *parts])}", file=sys.stderr)
        return 2
    if any(parts[name].servers for name in names):
        sys.path.insert(0, str(ROOT))
        from tests import services

        services.start()
    outcomes: dict[str, Outcome] = {}
    skipped: list[str] = []
    for name in names:
        if name == "browser tests":
            path = browser()
            if path is None:
                skipped.append(name)
                continue
            parts[name].environment["ATRIUM_CHROMIUM"] = path
        outcomes[name] = run(name, parts[name])
    return report(outcomes, skipped)


def report(outcomes: dict[str, Outcome], skipped: list[str]) -> int:
    """Say how each part went; the last line counts."""
    print()
    for name, outcome in outcomes.items():
        print(f"  {'ok    ' if outcome.ok else 'FAILED'}  {outcome.seconds:6.1f} s  {name}")
    for name in skipped:
        print(f"  SKIPPED          {name}: no Chromium here")
    total: dict[str, int] = {"passed": 0, "failed": 0}
    for outcome in outcomes.values():
        for word, number in outcome.counts.items():
            total[word] = total.get(word, 0) + number
    print(
        "\n"
        + ", ".join(
            f"{number} {word}" for word, number in total.items() if number or word in {"passed", "failed"}
        )
    )
    return 0 if all(outcome.ok for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
