"""The launcher's small parts: files, settings, logs, leftovers, translations."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from launcher import settings as launcher_settings
from launcher.errors import StartError
from launcher.home import Home, read_json, write_private
from launcher.processes import boot_id, group_members, read_stat
from launcher.secrets import Secrets
from launcher.settings import load_dotenv, read_settings
from launcher.stack import engine_spec, server_environment, server_specs
from launcher.supervisor import end_leftovers, rotate
from tests.launcher.platform_standin import alive
from tests.waiting import eventually

LAUNCHER = Path(launcher_settings.__file__).parent


def test_a_private_file_is_seen_whole_and_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_missing_or_broken_file_reads_as_nothing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    assert read_json(path) is None


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with home.lock(), pytest.raises(StartError, match=f"process {os.getpid()}"):
        home.lock()
    home.lock().close()


def test_secrets_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    secrets = Secrets(tmp_path)
    made = secrets.server_environment()
    assert made == Secrets(tmp_path).server_environment()
    assert len(set(made.values())) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    monkeypatch.setenv("SECRET_KEY", "given")
    assert secrets.server_environment()["SECRET_KEY"] == "given"
    monkeypatch.delenv("SECRET_KEY")
    monkeypatch.setenv("SECRET_KEY_FILE", "/run/secrets/key")
    assert "SECRET_KEY" not in secrets.server_environment()


def test_a_log_is_cut_when_it_is_large_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    with path.open("ab", buffering=0) as child:
        for number in range(5):
            child.write(b"%d" % number * 60)
            rotate(path, 50, keep=3)
            child.write(b"-")
    assert path.read_bytes() == b"-"
    kept = [tmp_path.joinpath(f"web.log.{number}").read_bytes() for number in (1, 2, 3)]
    assert [content.strip(b"-")[:1] for content in kept] == [b"4", b"3", b"2"]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("few")
    rotate(path, 50, keep=3)
    assert path.read_text() == "few"


def test_leftovers_are_known_by_start_time_and_ended(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    mine, other = (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        for _ in "ab"
    )
    eventually(lambda: read_stat(mine.pid) and read_stat(other.pid))
    stats = {process.pid: read_stat(process.pid) for process in (mine, other)}
    started = {pid: found.started for pid, found in stats.items() if found}
    children = [
        {"name": "engine", "pid": mine.pid, "started": started[mine.pid]},
        # The same process id, given to somebody else since.
        {"name": "web", "pid": other.pid, "started": started[other.pid] - 1},
    ]
    home.children.write_text(json.dumps({"boot": boot_id(), "children": children}))
    assert group_members(mine.pid, started[mine.pid]) == [mine.pid]
    assert end_leftovers(home) == 1
    assert not alive(mine.pid)
    assert alive(other.pid)
    assert not home.children.exists()
    other.kill()
    for process in (mine, other):
        process.wait()


def test_leftovers_of_an_earlier_boot_are_nobodys(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    home.children.write_text(
        json.dumps({"boot": "another", "children": [{"name": "x", "pid": 1, "started": 1}]})
    )
    assert end_leftovers(home) == 0


def test_dotenv_fills_in_and_never_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.delenv("ATRIUM_NODE", raising=False)
    path = tmp_path / ".env"
    path.write_text("# PORT=1\nPORT=2\nexport ATRIUM_NODE='here'\nnonsense\n\n")
    load_dotenv(path)
    assert (os.environ["PORT"], os.environ["ATRIUM_NODE"]) == ("9000", "here")


def test_an_unknown_engine_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE", "tpu")
    with pytest.raises(StartError, match="ENGINE=tpu is not known: use auto, cpu, cuda or none"):
        read_settings()


@pytest.mark.parametrize(
    ("engine", "preloads", "compiles"), [("cpu", True, False), ("cuda", True, True), ("none", False, True)]
)
def test_the_engine_worker_gets_what_its_engine_needs(
    monkeypatch: pytest.MonkeyPatch, engine: str, preloads: bool, compiles: bool
) -> None:
    monkeypatch.setattr(launcher_settings.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setenv("ENGINE", engine)
    settings = read_settings()
    spec = engine_spec(settings, {"PATH": "/bin"})
    assert (spec.environment.get("ATRIUM_PRELOAD_ENGINE") == "1") is preloads
    # vLLM on CPU compiles behind `logprobs`, which kills the engine where there is no C++ compiler.
    assert ("TORCHDYNAMO_DISABLE" not in spec.environment) is compiles
    assert f"engine.{settings.node}" in spec.command


def test_no_server_but_the_engine_worker_may_load_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE", "none")
    for spec in server_specs(read_settings(), {}):
        assert "inference.worker.tasks" not in spec.command
        assert "ATRIUM_PRELOAD_ENGINE" not in spec.environment


def test_specs_do_not_print_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher.access import Access

    monkeypatch.setenv("ENGINE", "none")
    settings = read_settings()
    access = Access("postgresql://atrium_app:hush@/x", "")
    environment = server_environment(settings, access, "unix://:hush@/s", {"SECRET_KEY": "hush"})
    assert "hush" not in repr(server_specs(settings, environment))


def test_every_sentence_is_translated() -> None:
    said = set()
    for path in LAUNCHER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"
                said.add(node.args[0].value)
    with (LAUNCHER / "locale" / "zh_Hans" / "LC_MESSAGES" / "launcher.po").open("rb") as handle:
        catalogue = read_po(handle)
    assert said == {message.id for message in catalogue if message.id}


def test_the_supervisor_stays_small() -> None:
    names = "django redis psycopg celery config"
    code = f"import sys, launcher.up; print(sorted(set('{names}'.split()) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_reading_the_process_table_is_quick() -> None:
    began = time.monotonic()
    group_members(os.getpid(), 0)
    assert time.monotonic() - began < 1
