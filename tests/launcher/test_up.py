"""`launcher up` from the outside: comes up, stays up, goes down, and says in one sentence why not."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launcher.platform_standin import Standin, alive
from tests.waiting import eventually

NAMES = {"postgres", "valkey", "engine", "web", "jobs", "beat"}


@pytest.mark.stack
def test_it_comes_up_survives_every_kill_and_leaves_nothing_behind(standin: Standin) -> None:
    ready = standin.start().ready()
    assert ready["base_url"] == f"http://127.0.0.1:{standin.port}"
    assert ready["tenants"][0]["api_key"] == "the-key"
    assert ready["models"] == ["talker", "embedder"]
    assert set(standin.pids()) == NAMES
    assert stat.S_IMODE(standin.ready_file.stat().st_mode) == 0o600
    helpers = eventually(lambda: (standin.home / "helpers").exists() and _helpers(standin))

    for name in sorted(NAMES):
        old = standin.pids()[name]
        os.kill(old, signal.SIGKILL)
        eventually(lambda name=name, old=old: standin.pids().get(name) not in (None, old), 5)
    # Both helpers of the killed engine worker went with it, also the one that had left its process group.
    eventually(lambda: not any(map(alive, helpers)), 1)
    eventually(lambda: _helpers(standin) != helpers)
    eventually(standin.serves_rows, 15)
    assert standin.rows() == 1

    status, output = standin.stop(signal.SIGINT)
    assert status == 0
    assert "engine ended (signal 9), starting it again" in output
    assert not standin.ready_file.exists()
    assert standin.processes() == []


@pytest.mark.stack
def test_from_the_background_of_a_script_it_is_stopped_by_sigint_and_not_by_sighup(standin: Standin) -> None:
    """Such a shell ignores SIGINT for what it starts with "&", and nohup ignores SIGHUP."""
    standin.start(ignoring="INT HUP").ready()
    assert standin.process is not None
    standin.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        standin.process.wait(1)
    status, output = standin.stop(signal.SIGINT)
    assert (status, "stopped" in output) == (0, True)
    assert standin.processes() == []


@pytest.mark.stack
def test_the_servers_get_what_they_need_and_not_the_owners_password(standin: Standin) -> None:
    standin.start(DATABASE_OWNER_URL="").ready()
    environment = json.loads((standin.home / "web-environment.json").read_text())
    assert "://atrium_app:" in environment["DATABASE_URL"]
    assert not environment.get("DATABASE_OWNER_URL")
    owner = (standin.home / "secrets" / "postgres-atrium_owner").read_text()
    superuser = (standin.home / "secrets" / "postgres-superuser").read_text()
    assert not [name for name, value in environment.items() if owner in value or superuser in value]
    assert environment["REDIS_URL"].startswith("unix://:")
    assert {"SECRET_KEY", "ATRIUM_KEY_PEPPER", "ATRIUM_ENCRYPTION_KEY"} <= set(environment)
    assert (
        environment["HF_HUB_OFFLINE"]
        == environment["VLLM_NO_USAGE_STATS"]
        == environment["DO_NOT_TRACK"]
        == "1"
    )
    assert environment["DJANGO_SETTINGS_MODULE"] == "config.settings.local"


@pytest.mark.stack
def test_starting_again_keeps_data_and_secrets(standin: Standin) -> None:
    standin.start().ready()
    secrets = {path.name: path.read_text() for path in (standin.home / "secrets").iterdir()}
    standin.stop()
    standin.start().ready()
    assert standin.rows() == 2
    assert secrets == {path.name: path.read_text() for path in (standin.home / "secrets").iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (standin.home / "secrets").iterdir()} == {0o600}


@pytest.mark.stack
def test_a_killed_launcher_leaves_nothing_that_the_next_one_trips_over(standin: Standin) -> None:
    before = standin.start().ready()["processes"]
    eventually(lambda: (standin.home / "helpers").exists())
    standin.stop(signal.SIGKILL)
    assert standin.ready_file.exists()
    standin.start()
    eventually(lambda: standin.ready_file.exists() and standin.ready()["processes"] != before)
    assert standin.rows() == 2
    assert not any(alive(process["pid"]) for process in before)


@pytest.mark.stack
def test_a_second_start_on_the_same_home_is_refused(standin: Standin) -> None:
    standin.start().ready()
    second = subprocess.run(
        [sys.executable, "-m", "launcher", "up"],
        env=standin.environment(PORT="1"),
        capture_output=True,
        text=True,
    )
    assert second.returncode == 1
    assert standin.process
    assert second.stderr == (
        f"Atrium already runs in {standin.home} (process {standin.process.pid}): stop it first, or set ATRIUM_HOME"
        " and PORT.\n"
    )
    assert standin.ready_file.exists()


def test_a_taken_port_is_one_sentence_that_names_another(standin: Standin) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", standin.port))
        other.listen()
        status, output = standin.start().end()
    assert status == 1
    assert f"Port {standin.port} is taken by another program" in output
    assert f"make run PORT={standin.port + 1}" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_failed_preparation_ends_everything_with_its_reason(standin: Standin) -> None:
    status, output = standin.start(STANDIN_PREPARE="fails").end()
    assert status == 1
    assert "The database could not be prepared (a migration is missing): see " in output
    assert standin.processes() == []


@pytest.mark.stack
def test_a_server_that_never_comes_up_ends_everything_with_its_reason(standin: Standin) -> None:
    status, output = standin.start(STANDIN_WEB="dies").end()
    assert status == 1
    assert "web does not start (no such setting): see " in output
    assert standin.processes() == []


@pytest.mark.stack
def test_it_speaks_chinese_to_a_chinese_terminal(standin: Standin) -> None:
    standin.start(LC_ALL="zh_CN.UTF-8").ready()
    _status, output = standin.stop()
    assert "Atrium 已就绪" in output
    assert "已停止" in output


@pytest.mark.stack
def test_several_web_processes_share_the_port(standin: Standin) -> None:
    standin.start(WEB_PROCESSES="2").ready()
    assert {"web-1", "web-2"} <= set(standin.pids())


@pytest.mark.stack
def test_it_stops_while_it_is_still_coming_up(standin: Standin) -> None:
    standin.start()
    eventually(lambda: (standin.home / "run" / "children.json").exists())
    began = time.monotonic()
    status, output = standin.stop()
    assert status == 0
    assert "stopped" in output
    assert time.monotonic() - began < 10
    assert standin.processes() == []


@pytest.mark.parametrize("value", ["0", "65536", "http"])
def test_a_port_that_is_none_is_refused(standin: Standin, value: str) -> None:
    status, output = standin.start(PORT=value).end()
    assert status == 1
    assert output == f"PORT={value} is not valid: use a number from 1 to 65535.\n"


def test_a_home_that_cannot_be_made_is_one_sentence(standin: Standin) -> None:
    file = standin.folder / "file"
    file.touch()
    status, output = standin.start(ATRIUM_HOME=str(file / "home")).end()
    assert status == 1
    assert output.startswith(f"{file / 'home'} cannot be written (Not a directory)")


@pytest.mark.stack
def test_commands_beside_the_platform_get_its_environment(standin: Standin) -> None:
    standin.start().ready()
    command = [
        sys.executable,
        "-m",
        "launcher",
        "manage",
        "anything",
        "--output",
        str(standin.folder / "out"),
    ]
    (standin.folder / "manage.py").write_text(
        "import os, pathlib, sys; pathlib.Path(sys.argv[-1]).write_text(os.environ['DATABASE_URL'])"
    )
    subprocess.run(command, env=standin.environment(), check=True)
    environment = json.loads((standin.home / "web-environment.json").read_text())
    assert (standin.folder / "out").read_text() == environment["DATABASE_URL"]


def _helpers(standin: Standin) -> list[int]:
    return [int(word) for word in Path(standin.home, "helpers").read_text().split()]
