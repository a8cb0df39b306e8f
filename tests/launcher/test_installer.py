"""The installer: what it takes for installed, what it chooses, and the sentence for each failure."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The installer as imported, working on a folder of the test's own with locks of one line."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setenv("LC_ALL", "C")
    module = importlib.import_module("installer")
    venv = tmp_path / ".venv"
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "PYTHON", venv / "bin" / "python")
    monkeypatch.setattr(module, "STAMP", venv / "atrium-installed.json")
    monkeypatch.setattr(module, "UNFINISHED", venv / "atrium-unfinished")
    for name in {
        module.CORE,
        module.DEV,
        *(lock for locks in module.ENGINE_LOCKS.values() for lock in locks),
    }:
        (tmp_path / name).write_text(f"package=={len(name)}\n")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    return module


def installation(module: ModuleType, engine: str = "none", dev: bool = False) -> Any:
    return module.Installer(engine, dev, module.ROOT / "install.log")


def stamp(module: ModuleType, **changes: Any) -> None:
    wanted = installation(module, "cpu", dev=True).wanted()
    module.STAMP.write_text(json.dumps({"root": str(module.ROOT), "locks": wanted, **changes}))


def test_a_stamp_for_more_than_is_needed_satisfies(installer: ModuleType) -> None:
    assert not installation(installer).satisfied()
    stamp(installer)
    assert installation(installer).satisfied()
    assert installation(installer, "cpu").satisfied()
    assert installation(installer, "cpu", dev=True).satisfied()
    assert not installation(installer, "cuda").satisfied()


def test_a_changed_lock_a_moved_folder_a_cut_off_run_and_a_broken_python_do_not(
    installer: ModuleType,
) -> None:
    stamp(installer, root="/elsewhere")
    assert not installation(installer).satisfied()
    stamp(installer)
    installer.UNFINISHED.touch()
    assert not installation(installer).satisfied()
    installer.UNFINISHED.unlink()
    (installer.ROOT / installer.CORE).write_text("package==2\n")
    assert not installation(installer).satisfied()
    stamp(installer)
    installer.PYTHON.unlink()
    installer.PYTHON.symlink_to("/no/such/python")
    assert not installation(installer).satisfied()


def test_a_folder_without_room_is_refused_before_anything_is_written(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 2.5e9})())
    with pytest.raises(installer.FailureError) as caught:
        installation(installer, "cpu").install()
    assert caught.value.sentence == (
        f"The installation needs 6 GB of free disk at {installer.ROOT} and there are 2.5: free some, or leave the"
        " engine out with ENGINE=none (1 GB)."
    )
    installation(installer, "none")._require_disk()


@pytest.mark.parametrize(
    ("output", "start"),
    [
        (
            "ProxyError('Cannot connect to proxy.')\nERROR: No matching distribution found for uv",
            "The package index cannot",
        ),
        ("error: Request failed: dns error: failed to lookup", "The package index cannot"),
        ("urlopen error [Errno 111] Connection refused", "The package index cannot"),
        ("ERROR: No matching distribution found for uv==0.13.9", "The package index answers"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "The package index answers"),
        ("OSError: [Errno 28] No space left on device", "The disk became full"),
        ("something else", "The installation failed at “torch”"),
    ],
)
def test_what_pip_and_uv_say_becomes_one_sentence(installer: ModuleType, output: str, start: str) -> None:
    running = installation(installer)
    running.step_name = "torch"
    sentence = running._diagnose(output).sentence
    assert sentence.startswith(start)
    assert "\n" not in sentence


def test_a_failed_installation_into_a_new_environment_removes_it(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = installation(installer)
    installer.shutil.rmtree(installer.VENV)
    made = installer.VENV / "lib" / "python3.11" / "site-packages"
    monkeypatch.setattr(running, "_run", lambda _command: (made.mkdir(parents=True), (0, ""))[1])
    monkeypatch.setattr(running, "_install_packages", _refuse)
    with pytest.raises(RuntimeError):
        running.install()
    assert not installer.VENV.exists()


def test_a_failed_upgrade_that_changed_nothing_leaves_the_old_environment(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installer.VENV / "lib" / "python3.11" / "site-packages" / "one.dist-info").mkdir(parents=True)
    stamp(installer)
    running = installation(installer)
    monkeypatch.setattr(running, "_install_packages", _refuse)
    with pytest.raises(RuntimeError):
        running.install()
    assert not installer.UNFINISHED.exists()
    assert running.satisfied()


def test_pips_configuration_is_handed_to_uv(installer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    running = installation(installer)
    listing = (
        "global.index-url='https://mirror.example/simple'\n"
        "global.extra-index-url='https://a.example https://b.example'\n"
        ":env:.find-links='/srv/wheels'\n"
        "install.trusted-host='mirror.example'\n"
        "global.timeout='60'\n"
    )
    monkeypatch.setattr(running, "_run", lambda _command: (0, listing))
    assert running._pip_configuration() == [
        *("--default-index", "https://mirror.example/simple"),
        *("--extra-index-url", "https://a.example", "--extra-index-url", "https://b.example"),
        *("--find-links", "/srv/wheels"),
        *("--allow-insecure-host", "mirror.example"),
    ]
    monkeypatch.setenv("UV_INDEX", "https://own.example")
    assert running._pip_configuration() == []


def test_torch_comes_from_pytorchs_index_only_when_no_other_has_it(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = installation(installer, "cpu")
    (installer.ROOT / installer.TORCH_CPU).write_text("torch==2.13.0+cpu\n")
    commands: list[list[str]] = []

    def answer(*statuses: int) -> None:
        commands.clear()
        left = list(statuses)
        monkeypatch.setattr(
            running, "_run", lambda command: (commands.append(command), (left.pop(0), "none"))[1]
        )

    answer(0)
    running._install_torch(["uv"])
    assert not any(installer.TORCH_CPU_INDEX in command for command in commands)
    answer(1, 0)
    running._install_torch(["uv"])
    assert [installer.TORCH_CPU_INDEX in command for command in commands] == [False, True]
    answer(1, 1)
    with pytest.raises(installer.FailureError) as caught:
        running._install_torch(["uv"])
    assert "PyTorch's CPU build 2.13.0+cpu for Python 3." in caught.value.sentence
    assert "PIP_FIND_LINKS" in caught.value.sentence


@pytest.mark.parametrize("value", ["none", "cpu", "cuda", " CPU "])
def test_a_named_engine_is_taken(installer: ModuleType, value: str) -> None:
    assert installer.choose_engine(value) == value.strip().lower()


def test_a_gpu_is_found_by_its_device_or_its_tool(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer.shutil, "which", lambda _name: None)
    monkeypatch.setattr(installer.Path, "exists", lambda path: str(path) == "/dev/nvidia0")
    assert installer.choose_engine("") == "cuda"
    monkeypatch.setattr(installer.Path, "exists", lambda _path: False)
    assert installer.choose_engine("auto") == "cpu"
    monkeypatch.setattr(installer.shutil, "which", lambda _name: "/usr/bin/nvidia-smi")
    found = subprocess.CompletedProcess([], 0, stdout="GPU 0: NVIDIA H200", stderr="")
    monkeypatch.setattr(installer.subprocess, "run", lambda *_a, **_k: found)
    assert installer.choose_engine("auto") == "cuda"


def test_an_unknown_engine_is_one_sentence(installer: ModuleType) -> None:
    with pytest.raises(installer.FailureError) as caught:
        installer.choose_engine("tpu")
    assert caught.value.sentence == "ENGINE=tpu is not known: use auto, cpu, cuda or none."


def test_a_taken_port_is_refused_before_the_installation(installer: ModuleType, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(installer.FailureError) as caught:
            installer.require_port({"PORT": str(port)}, tmp_path)
    assert f"Port {port} is taken by another program" in caught.value.sentence
    installer.require_port({"PORT": str(port)}, tmp_path)


def test_every_sentence_exists_in_both_languages_with_the_same_blanks(installer: ModuleType) -> None:
    import re

    from sentences import _SENTENCES

    for key, (english, chinese) in _SENTENCES.items():
        blanks = [sorted(re.findall(r"\{(\w+)", text)) for text in (english, chinese)]
        assert set(blanks[0]) == set(blanks[1]), key
        assert not re.search(r"[\u4e00-\u9fff]", english)
        assert re.search(r"[\u4e00-\u9fff]", chinese)


def test_an_old_python_says_so(tmp_path: Path) -> None:
    """Run by this Python, told that it is an old one, with no other on the path."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bootstrap;"
        "sys.version_info = (3, 10, 13, 'final', 0); bootstrap.usable = lambda python: False;"
        "sys.exit(bootstrap.main())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPTS)],
        capture_output=True,
        text=True,
        env={"PATH": "", "LC_ALL": "C"},
    )
    assert result.returncode == 1
    assert result.stderr == (
        "Atrium needs Python 3.11 or newer and found 3.10: install one (Debian and Ubuntu: apt install python3.11"
        " python3.11-venv) or name it with make run PYTHON=/path/to/python3.\n"
    )


def _refuse() -> None:
    raise RuntimeError
