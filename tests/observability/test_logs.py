"""The log: one JSON object per line, from structlog and the standard library, with ids and without
secrets.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from uuid import uuid4

import pytest
import structlog

from core.scoping import Scope, _scope
from observability import logs

PATH = {"PYTHONPATH": os.pathsep.join(sys.path)}
SECRET = "atr-abcdefgh-" + "Zx9_-" * 8 + "Qwe" + "a1b2c3"


@pytest.fixture
def lines(capsys):
    """The lines written during the test, parsed."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    logs.configure("INFO")

    def read():
        out, err = capsys.readouterr()
        return [json.loads(line) for line in (out + err).splitlines() if line.startswith("{")]

    yield read
    logging.captureWarnings(False)
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_a_line_is_one_json_object_with_time_level_and_logger(lines):
    structlog.get_logger("somewhere").info("things.thing.made", count=3)
    (line,) = lines()
    assert line["event"] == "things.thing.made"
    assert line["count"] == 3
    assert line["level"] == "info"
    assert line["logger"] == "somewhere"
    assert line["time"].endswith("Z")


def test_the_standard_library_writes_the_same_form(lines):
    logging.getLogger("celery.worker").warning("lost %s of %d", "one", 2)
    (line,) = lines()
    assert line["event"] == "lost one of 2"
    assert line["level"] == "warning"


def test_lines_carry_the_request_and_the_tenant(lines):
    tenant_id = uuid4()
    structlog.contextvars.bind_contextvars(request_id="req_1")
    before = _scope.get()
    _scope.set(Scope(tenant_id=tenant_id))
    try:
        logging.getLogger("anything").warning("inside")
    finally:
        _scope.set(before)
    (line,) = lines()
    assert line["request_id"] == "req_1"
    assert line["tenant_id"] == str(tenant_id)


def test_secrets_are_masked_wherever_they_stand(lines):
    log = structlog.get_logger("somewhere")
    log.info("key.used", key=SECRET, messages=[{"content": "my diagnosis"}])
    logging.getLogger("library").error("failed with %s", {"Authorization": f"Bearer {SECRET}"})
    text = json.dumps(lines())
    assert "Zx9" not in text
    assert "diagnosis" not in text


def test_an_exception_is_told_without_what_it_held(lines):
    def break_down():
        body = {"messages": [{"content": "my diagnosis"}]}
        try:
            raise ValueError(f"bad body: {body!r} for {SECRET}")
        except ValueError as error:
            raise RuntimeError(f"while serving {SECRET}") from error

    try:
        break_down()
    except RuntimeError:
        structlog.get_logger("somewhere").exception("request.failed")
        logging.getLogger("library").exception("also failed")
    for line in lines():
        outer, inner = line["exception"]
        assert outer["type"] == "builtins.RuntimeError"
        assert outer["said"] == "while serving atr-abcdefgh-[redacted]"
        assert inner["type"] == "builtins.ValueError"
        assert any("break_down" in frame for frame in inner["at"])
        assert "diagnosis" not in json.dumps(line)
        assert "Zx9" not in json.dumps(line)


def test_nothing_follows_the_json_of_an_exception(lines, capsys):
    try:
        raise RuntimeError(f"leaks {SECRET}")
    except RuntimeError:
        logging.getLogger("library").exception("failed", stack_info=True)
    out, err = capsys.readouterr()
    assert (out + err).count("\n") == 1
    assert "Traceback" not in out + err


def test_warnings_are_lines_too(lines):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert any("old thing" in line["event"] for line in lines())


def test_configuring_twice_writes_each_line_once(lines):
    logs.configure("INFO")
    structlog.get_logger("somewhere").info("once")
    assert len(lines()) == 1


def test_chatty_libraries_keep_their_floor(lines):
    logs.configure("DEBUG")
    logging.getLogger("django.db.backends").debug("SELECT secret")
    logging.getLogger("kombu.connection").debug("amqp://guest:guest@x")
    assert lines() == []


@pytest.mark.slow
def test_servers_write_to_standard_output_and_commands_to_standard_error():
    code = (
        "import sys; sys.argv = [{name!r}]; from observability import logs; logs.configure('INFO');"
        "import structlog; structlog.get_logger('x').info('hello')"
    )
    for name, stream in (("/usr/bin/uvicorn", "stdout"), ("manage.py", "stderr")):
        command = [sys.executable, "-c", code.format(name=name)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ, **PATH}
        )
        assert "hello" in getattr(done, stream)
        assert "hello" not in getattr(done, "stderr" if stream == "stdout" else "stdout")


def test_celery_leaves_the_logs_alone(lines):
    from celery.signals import setup_logging

    answers = setup_logging.send(sender=None, loglevel=logging.INFO, logfile=None, format="", colorize=False)
    assert answers, "Celery sets up its own logging when nobody answers this signal"
    structlog.get_logger("somewhere").info("still.json")
    assert lines()[-1]["event"] == "still.json"
