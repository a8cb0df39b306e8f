"""Run the checks and tests behind `make test`, `make quick` and `make check`.

Checks that are no test use one core each and run two at a time; tests run after them, one part after the other.
All parts run even when an early one fails; what failed is said again at the end, the exit status is 1 then, and
the last line counts: each check that is not a test run counts as one.
"""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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


# In the order that they begin in: the long ones first.
STATIC = {
    "types": tool("mypy", *PYTHON_FOLDERS, "scripts"),
    "migrations": manage("makemigrations", "--check", "--dry-run"),
    "django": manage("check", "--fail-level", "WARNING"),
    "layers": tool("lint-imports", "--no-cache"),
    "templates": tool("djlint", "--lint", "--quiet", "templates"),
    "spelling": tool("codespell"),
    "catalogues": Part([sys.executable, "scripts/catalogues.py", "check"]),
    "format": tool("ruff", "format", "--check", "."),
    "lint": tool("ruff", "check", "."),
}
SIDE_BY_SIDE = ("-n", "2", "--dist", "worksteal")
WITHOUT_ENGINE = "not engine and not browser and not stack"
TESTS = {
    "quick tests": pytest(*SIDE_BY_SIDE, "-m", WITHOUT_ENGINE),
    "engine tests": pytest("-m", "engine and not browser and not stack"),
    "stack tests": pytest("-m", "stack and not browser and not drill"),
    "drills": pytest("-m", "drill"),
    # Their server ends with its thread, in the middle of what it does: connections left open then are no leak.
    "browser tests": pytest(
        "-m",
        "browser",
        *("-W", "default::ResourceWarning", "-W", "default::pytest.PytestUnraisableExceptionWarning"),
    ),
}
# What `make quick` looks at, for its two minutes: a share of what is generated, and nothing that is marked slow.
QUICK_EXAMPLES = "0.1"
QUICK_TESTS = pytest(
    *SIDE_BY_SIDE,
    *("-m", f"{WITHOUT_ENGINE} and not slow"),
    *("--ignore", "tests/stack", "--ignore", "tests/browser", "-p", "no:playwright"),
)
SETS = {
    "static": list(STATIC),
    "quick": [*STATIC, "quick tests"],
    "all": [*STATIC, *(name for name in TESTS if name != "drills")],
}


def run(name: str, part: Part, *, show: bool = True) -> Outcome:
    """Run one part. Its output is shown as it comes, or in one piece at the end (`show` false)."""
    head = f"\n=== {name}: {' '.join(Path(word).name if word.startswith('/') else word for word in part.command)}"
    lines = [f"{head}\n"]
    if show:
        print(head, flush=True)
    began = time.monotonic()
    environment = {**os.environ, **part.environment}
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
            if show:
                print(line, end="", flush=True)
            lines.append(line)
    if not show:
        print("".join(lines), end="", flush=True)
    seconds = time.monotonic() - began
    if not part.tests:
        ok = process.returncode == 0
        return Outcome(ok, seconds, {"passed": int(ok), "failed": int(not ok)})
    ok, counts = _counted(process.returncode, lines[-1])
    return Outcome(ok, seconds, counts)


def _counted(status: int, summary: str) -> tuple[bool, dict[str, int]]:
    """Whether a run of tests went well, and its last line as numbers."""
    counts: dict[str, int] = {}
    for number, word in SUMMARY.findall(summary):
        counts["failed" if word.startswith("error") else word] = counts.get(word, 0) + int(number)
    ok = status in {0, NO_TESTS_COLLECTED}
    if not ok and not counts.get("failed"):
        counts["failed"] = 1  # it did not even come to a summary
    return ok, counts


def run_side_by_side(names: list[str]) -> dict[str, Outcome]:
    """Run checks that are no tests, as many at a time as there are cores, in the order given (longest first)."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        running = {name: pool.submit(run, name, STATIC[name], show=False) for name in names}
        return {name: outcome.result() for name, outcome in running.items()}


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
    if arguments == ["quick"]:
        parts["quick tests"] = QUICK_TESTS
        parts["quick tests"].environment["ATRIUM_TEST_EXAMPLES"] = QUICK_EXAMPLES
    if unknown := [name for name in names if name not in parts]:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join([*SETS, *parts])}", file=sys.stderr)
        return 2
    if any(parts[name].servers for name in names):
        sys.path.insert(0, str(ROOT))
        from tests import services

        services.start()
    outcomes: dict[str, Outcome] = {}
    skipped: list[str] = []
    outcomes.update(run_side_by_side([name for name in names if name in STATIC]))
    for name in names:
        if name in STATIC:
            continue
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
