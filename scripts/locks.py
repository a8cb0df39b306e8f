"""`make locks`: resolve every requirements*.in into the pinned, hashed file beside it.

One resolution serves CPython 3.11 to 3.14 on Linux, x86-64 and arm64. The locks are made one after the other,
each held to the versions of those before it, so that any two of them can be installed side by side.
Needs the network and the project's own virtual environment (for uv).
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"

# What the locks are for. uv writes these conditions behind every pin; `_plain` takes them off again.
COMMON = (
    "python_full_version < '3.15'",
    "platform_python_implementation == 'CPython'",
    "sys_platform == 'linux'",
)
MACHINES = ("x86_64", "aarch64")

# Requirements that are left out or replaced, by lock, each with its reason.
OVERRIDES = {
    "engine-cpu": [
        'torch ; python_version < "3"',  # pinned in requirements-torch-cpu.txt
        'torchvision ; python_version < "3"',  # its published builds are for CUDA; text models do without
        'torchaudio ; python_version < "3"',  # likewise
        'torchcodec ; python_version < "3"',  # likewise
        'triton ; python_version < "3"',  # a compiler for GPUs
        'sentence-transformers ; python_version < "3"',  # only the weights of the embedding model are used
    ],
    "engine-cuda": [
        "certifi",  # vllm 0.33.0 asks for a release newer than any published: the newest there is must do
        'sentence-transformers ; python_version < "3"',
    ],
}

# name of the lock -> the locks whose versions it keeps
LOCKS = {
    "": [],
    "engine-cpu": [""],
    "engine-cuda": [""],
    "dev": ["", "engine-cpu"],
    "node": [],
}


def _file(name: str, suffix: str) -> Path:
    return ROOT / f"requirements{'-' + name if name else ''}.{suffix}"


def _pins(path: Path) -> dict[str, set[str]]:
    """Package name -> the versions that a lock pins (more than one where they differ by Python version)."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE):
        pins.setdefault(name, set()).add(version)
    return pins


def _plain(text: str) -> str:
    """Take the conditions that hold for the whole lock off each line, and keep those that do not."""
    implementation, system = COMMON[1], COMMON[2]
    both = " or ".join(
        f"(platform_machine == '{machine}' and {implementation} and {system})" for machine in sorted(MACHINES)
    )
    plain = []
    for line in text.splitlines():
        if " ; " in line:
            pin, _, rest = line.partition(" ; ")
            marker, backslash = (rest[:-2], " \\") if rest.endswith(" \\") else (rest, "")
            parts = marker.replace(f"({both})", "everywhere").split(" and ")
            parts = [part for part in parts if part not in {*COMMON, "everywhere"}]
            parts = [part for part in parts if not part.startswith("implementation_name !=")]
            line = pin + (" ; " + " and ".join(parts) if parts else "") + backslash
        plain.append(line)
    return "\n".join(plain) + "\n"


def _resolve(name: str, keep: list[str], workdir: Path, upgrade: bool) -> None:
    """Write one lock. Unless `upgrade`, versions that stand in the present lock stay where they can."""
    target = _file(name, "txt")
    output = workdir / target.name
    if target.exists() and not upgrade:
        output.write_text(target.read_text())
    command = [str(UV), "pip", "compile", "-q", str(_file(name, "in")), "-o", str(output)]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--only-binary", ":all:"]
    command += ["--no-header", "--no-annotate"]
    for other in keep:
        command += ["--constraint", str(_file(other, "txt"))]
    if name in OVERRIDES:
        overrides = workdir / f"overrides-{name}.txt"
        overrides.write_text("\n".join(OVERRIDES[name]) + "\n")
        command += ["--overrides", str(overrides)]
    subprocess.run(command, cwd=workdir, check=True)
    head = f"# Made by `make locks` from {_file(name, 'in').name}: change that file, not this one.\n"
    target.write_text(head + _plain(output.read_text()))
    print(f"{target.name}: {len(_pins(target))} packages")


def _disagreements() -> list[str]:
    """Packages that two locks which may be installed together pin to different versions."""
    found = []
    for first, second in (
        ("", "engine-cpu"),
        ("", "engine-cuda"),
        ("", "dev"),
        ("engine-cpu", "dev"),
        ("engine-cuda", "dev"),
    ):
        one, two = _pins(_file(first, "txt")), _pins(_file(second, "txt"))
        found += [
            f"{name}: {one[name]} in {_file(first, 'txt').name}, {two[name]} in {_file(second, 'txt').name}"
            for name in sorted(one.keys() & two.keys())
            if one[name] != two[name]
        ]
    return found


def main() -> int:
    """Resolve all locks; `--upgrade` takes the newest versions, otherwise present ones are kept."""
    environments = [f"{' and '.join(COMMON)} and platform_machine == '{machine}'" for machine in MACHINES]
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        quoted = ", ".join(f'"{environment}"' for environment in environments)
        (workdir / "pyproject.toml").write_text(f"[tool.uv]\nenvironments = [{quoted}]\n")
        for name, keep in LOCKS.items():
            _resolve(name, keep, workdir, upgrade="--upgrade" in sys.argv[1:])
    for line in (disagreements := _disagreements()):
        print(line, file=sys.stderr)
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
