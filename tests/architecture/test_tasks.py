"""Work is sent by name: every name that is sent, and every one on the schedule, is registered."""

from __future__ import annotations

import ast

import pytest
from celery import current_app

from tests.architecture.sources import calls_of, sources

# Registered by engine workers only (they import inference.worker.handlers); web processes send it by name.
ENGINE_ONLY = {"inference.serve"}


def registered() -> set[str]:
    """Names of all tasks that a jobs worker knows."""
    current_app.loader.import_default_modules()
    return {name for name in current_app.tasks if not name.startswith("celery.")}


def sent() -> dict[str, str]:
    """Names given to `enqueue` and `send_task`, and where."""
    found: dict[str, str] = {}
    for path, tree in sources().items():
        for call in calls_of(tree, "enqueue", "send_task"):
            if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
                found[call.args[0].value] = f"{path}:{call.lineno}"
    return found


def test_every_scheduled_task_is_registered() -> None:
    assert {entry["task"] for entry in current_app.conf.beat_schedule.values()} <= registered()


@pytest.mark.slow
def test_every_task_that_is_sent_is_registered() -> None:
    assert sent().keys() - ENGINE_ONLY <= registered(), sent()


def test_task_names_say_which_app_they_belong_to() -> None:
    from django.conf import settings

    ours = {
        name for name in registered() if current_app.tasks[name].__module__.split(".")[0] in settings.OWN_APPS
    }
    assert ours
    for name in ours:
        assert name.split(".")[0] == current_app.tasks[name].__module__.split(".")[0], name
