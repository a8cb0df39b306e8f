"""Valkey killed with SIGKILL in the middle: never more than what PostgreSQL set aside (L10), nothing leaks (L14)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from core.valkey import async_client
from inference.errors import Rejected
from launcher.embedded import Valkey
from launcher.home import Home
from launcher.secrets import Secrets
from tests.inference.admission.harness import Desk, PostgresTreasury, Terms, ledger, policy

CHARGED = policy(terms=Terms())


class Server:
    """A Valkey of the test's own, with its append-only file, to be killed."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder)
        home.create()
        self.valkey = Valkey.prepare(home, Secrets(home.secrets))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.valkey.url

    def start(self) -> None:
        spec = self.valkey.spec()
        self.process = subprocess.Popen(
            spec.command,
            cwd=spec.directory,
            env=dict(spec.environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("v"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def treasury(transactional_db: None) -> Iterator[PostgresTreasury]:
    with ledger(PostgresTreasury(slice_nano=1_000)) as made:
        yield made
    made.drop()


def _fill(treasury: PostgresTreasury, tenant: Any, nano: int) -> None:
    from django.db import connections

    try:
        treasury.fill(tenant, nano)
    finally:
        connections.close_all()


async def _ready(desk: Desk) -> None:
    for _ in range(200):
        try:
            await desk.client.ping()
            return
        except (RedisError, OSError):
            await asyncio.sleep(0.05)
    raise AssertionError("no Valkey")


async def test_killed_in_the_middle_never_more_are_admitted_than_the_money_covers(
    server: Server, treasury: PostgresTreasury, settings: Any
) -> None:
    settings.REDIS_URL = server.url
    desk = Desk(async_client())
    await _ready(desk)
    await asyncio.to_thread(_fill, treasury, desk.tenant, 5_000)
    admitted: set[str] = set()
    busy = 0

    async def one() -> None:
        nonlocal busy
        try:
            found = await desk.ask(CHARGED, tokens=100)
            admitted.add(found.request_id)
        except Rejected as error:
            busy += error.status == 503

    first = asyncio.gather(*(one() for _ in range(100)))
    await asyncio.sleep(0.15)
    server.kill()
    server.start()
    await first
    await _ready(desk)
    await asyncio.gather(*(one() for _ in range(100)))
    assert len(admitted) <= 50
    epochs = desk.scripts.epoch
    # Whatever the old memory had is void: the new one spends only what was granted to it.
    assert (await desk.client.hget(desk.keys.money, "epoch")).decode() == epochs
    assert await desk.escrow() >= 0
    await desk.close()


async def test_a_restart_voids_the_escrow_and_requests_in_flight_are_carried_over(
    server: Server, treasury: PostgresTreasury, settings: Any
) -> None:
    settings.REDIS_URL = server.url
    news: list[str] = []
    desk = Desk(async_client())
    desk.scripts._on_epoch = lambda: news.append(desk.scripts.epoch)
    await _ready(desk)
    await asyncio.to_thread(_fill, treasury, desk.tenant, 1_000)
    rules = policy(("concurrent_requests", 1), terms=Terms())
    running = await desk.ask(rules, tokens=100)
    before = desk.scripts.epoch
    assert await desk.escrow() == 900
    server.kill()
    server.start()
    await _ready(desk)
    await desk.scripts.confirm()
    assert desk.scripts.epoch != before
    assert news == [before, desk.scripts.epoch]
    await desk.admission.renew([running])
    with pytest.raises(Rejected):
        await desk.ask(rules, tokens=100)  # its slot is taken, and so is the money of the old memory
    # Settled in the new memory, it gives nothing to an escrow that it was not taken from.
    assert await desk.release(running, charge=10, tokens=10) == 1
    assert await desk.escrow() == 0
    await desk.admission.renew([running])
    await desk.close()


async def test_what_was_settled_is_not_brought_back_by_a_late_renewal(desk: Desk) -> None:
    admitted = await desk.ask(policy(("concurrent_requests", 1)))
    await desk.release(admitted)
    await desk.admission.renew([admitted])
    assert await desk.client.hlen(desk.keys.requests) == 0
    await desk.ask(policy(("concurrent_requests", 1)))


async def test_an_old_text_is_never_sent_to_a_new_server(desk: Desk) -> None:
    await desk.ask(policy())
    await desk.client.script_flush()
    epoch = desk.scripts.epoch
    desk.scripts.epoch = "stale"  # as if this process had been loaded into another server
    await desk.ask(policy())
    assert desk.scripts.epoch == epoch


async def test_the_same_request_id_in_a_new_memory_is_a_new_decision(desk: Desk) -> None:
    await desk.ask(policy(), request_id="req_one")
    await desk.client.hset(desk.keys.money, "epoch", uuid4().hex)
    await desk.ask(policy(), request_id="req_one")
    assert await desk.client.hlen(desk.keys.requests) == 1


async def test_a_connection_that_fails_refuses_nobody_and_one_loads_for_all(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = desk.client.connection_pool
    make, made = pool.make_connection, 0
    await desk.client.ping()  # the link itself is there

    def flaky() -> Any:
        nonlocal made
        made += 1
        connection = make()
        if made <= 2:

            async def slow() -> None:
                raise NoAnswer("Timeout connecting to server")

            connection.connect = slow
        return connection

    monkeypatch.setattr(pool, "make_connection", flaky)
    admitted = await asyncio.gather(*(desk.ask(policy()) for _ in range(20)))
    assert len({each.request_id for each in admitted}) == 20
    assert made == 3
