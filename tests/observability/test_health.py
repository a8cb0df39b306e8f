"""`/healthz`, `/readyz` and `/startupz`."""

from __future__ import annotations

import asyncio
import json
import time
from unittest import mock

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from observability import health
from observability.health import HealthApplication

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def application():
    """A fresh one, as after a start; not draining."""
    with mock.patch.object(health, "_draining", False):
        yield HealthApplication()


async def ask(application, path, method="GET", headers=()):
    """Status and body of one probe."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        raise AssertionError("a probe's body is never read")

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    await application(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_a_process_that_runs_is_alive(application):
    assert await ask(application, "/healthz") == (200, {"status": "ok"})


async def test_liveness_asks_nobody(application):
    with mock.patch.object(application.readiness, "check", side_effect=AssertionError):
        assert (await ask(application, "/healthz"))[0] == 200


async def test_it_is_ready_when_everything_answers(application):
    status, body = await ask(application, "/readyz")
    assert status == 200, body
    assert body == {
        "status": "ok",
        "checks": dict.fromkeys(("database", "valkey", "migrations", "walls", "not_draining"), "ok"),
    }


async def test_it_is_not_ready_while_draining(application):
    assert (await ask(application, "/readyz"))[0] == 200
    health.start_draining()
    assert health.is_draining()
    status, body = await ask(application, "/readyz")
    assert status == 503
    assert body["checks"]["not_draining"] == "failed"
    assert (await ask(application, "/healthz"))[0] == 200


@pytest.mark.parametrize(
    "broken", ["_database_answers", "_valkey_answers", "migrations_are_applied", "walls_are_up"]
)
async def test_it_is_not_ready_without_one_of_them(application, broken):
    def fail():
        raise RuntimeError("password=hunter22 at db.internal")

    with mock.patch.object(health, broken, fail):
        status, body = await ask(application, "/readyz")
    assert status == 503
    assert "failed" in body["checks"].values()
    assert "hunter22" not in str(body)
    assert "db.internal" not in str(body)


async def test_a_wall_that_is_down_keeps_traffic_away(application):
    with mock.patch.object(health, "walls_stand", return_value=["a table without its wall"]):
        status, body = await ask(application, "/readyz")
    assert status == 503
    assert body["checks"]["walls"] == "failed"


async def test_walls_and_migrations_are_asked_for_once(application):
    with (
        mock.patch.object(health, "FRESH_S", 0.0),
        mock.patch.object(health, "walls_are_up", return_value=True) as walls,
        mock.patch.object(health, "migrations_are_applied", return_value=True) as migrations,
    ):
        for _ in range(3):
            assert (await ask(application, "/readyz"))[0] == 200
    assert walls.call_count == migrations.call_count == 1


async def test_many_probes_cost_one_check(application):
    with mock.patch.object(application.readiness, "check", wraps=application.readiness.check) as check:
        answers = await asyncio.gather(*(ask(application, "/readyz") for _ in range(50)))
    assert {status for status, _body in answers} == {200}
    assert check.call_count == 1


async def test_a_check_that_hangs_is_a_failed_one(application):
    with (
        mock.patch.object(health, "TIMEOUT_S", 0.05),
        mock.patch.object(health, "_valkey_answers", side_effect=lambda: time.sleep(0.5)),
    ):
        started = time.monotonic()
        status, _body = await ask(application, "/readyz")
        assert time.monotonic() - started < 0.4
    assert status == 503


async def test_starting_ends_with_the_first_readiness(application):
    with mock.patch.object(health, "FRESH_S", 0.0):
        with mock.patch.object(health, "_valkey_answers", return_value=False):
            assert (await ask(application, "/startupz"))[0] == 503
        assert (await ask(application, "/startupz"))[0] == 200
        with mock.patch.object(health, "_valkey_answers", return_value=False):
            assert (await ask(application, "/startupz"))[0] == 200  # started stays started
            assert (await ask(application, "/readyz"))[0] == 503


async def test_no_host_header_is_needed_and_no_other_method_served(application):
    assert (await ask(application, "/healthz", headers=[(b"host", b"evil.example")]))[0] == 200
    assert (await ask(application, "/healthz", method="POST"))[0] == 405
    assert (await ask(application, "/healthz/x"))[0] == 404


async def test_the_database_connection_goes_back(application):
    await ask(application, "/readyz")
    used = await asyncio.get_running_loop().run_in_executor(
        application._thread, lambda: connections[DEFAULT_DB_ALIAS].connection
    )
    assert used is None
