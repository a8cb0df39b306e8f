"""Limits as clients of `/v1` meet them: headers, bodies, changes while everything runs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from core.actors import system
from core.scoping import platform_scope
from core.threads import in_thread
from inference.gateway import gateway, watch
from inference.queue import calls
from inference.queue.client import QueueFull
from tenants.models import Limit, Tenant
from tenants.services import limits, plans
from tests.inference.edge import BODY, Edge

MACHINE = system("tests")
SMALL = {**BODY, "max_tokens": 4}


def _limit(tenant: Tenant, kind: str, value: int, **fields: Any) -> Limit:
    from django.db import connections

    try:
        with platform_scope("tests"):
            return limits.create(
                tenant=tenant, actor=MACHINE, kind=kind, value=value, owner="platform", **fields
            )
    finally:
        connections.close_all()


def _run(work: Any, *args: Any, **fields: Any) -> Any:
    def call() -> Any:
        from django.db import connections

        try:
            with platform_scope("tests"):
                return work(*args, **fields)
        finally:
            connections.close_all()

    return asyncio.to_thread(call)


async def test_headers_and_bodies_say_what_is_left_and_what_said_no(edge: Edge) -> None:
    tenant = edge.served.acme
    await in_thread(_limit)(tenant, "requests_per_minute", 2)
    await in_thread(_limit)(tenant, "tokens_per_minute", 100_000)
    await edge.start_replica("rep-a", tokens=3)
    async with edge.http() as http:
        first = await http.post("/v1/chat/completions", json=SMALL)
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-reset-requests"].endswith("s")
        assert first.headers["x-ratelimit-limit-tokens"] == "100000"
        async with http.stream("POST", "/v1/chat/completions", json={**SMALL, "stream": True}) as stream:
            assert stream.headers["x-ratelimit-remaining-requests"] == "0"
            await stream.aread()
        no = await http.post("/v1/chat/completions", json=SMALL)
    assert no.status_code == 429
    assert no.headers["x-should-retry"] == "true"
    assert 0 < int(no.headers["retry-after-ms"]) <= 30_000
    assert no.headers["x-ratelimit-remaining-requests"] == "0"
    error = no.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert error["limit"]["name"] == "requests_per_minute"
    assert (error["limit"]["scope"], error["limit"]["value"], error["limit"]["remaining"]) == ("tenant", 2, 0)
    assert error["limit"]["reset_at"].endswith("Z")


@pytest.mark.slow
async def test_a_limit_that_changes_is_in_force_within_a_second_and_slots_are_freed(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=2)
    async with edge.http() as http:
        assert (await http.post("/v1/chat/completions", json=SMALL)).status_code == 200
        await asyncio.sleep(0.3)
        limit = await in_thread(_limit)(edge.served.acme, "concurrent_requests", 0)
        await _until(http, 429)
        await _run(limits.change, limit=limit, actor=MACHINE, value=1)
        await _until(http, 200)
        # One after the other: each finds the slot of the one before it free.
        for _ in range(10):
            assert (await http.post("/v1/chat/completions", json=SMALL)).status_code == 200


async def _until(http: httpx.AsyncClient, status: int) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 5:
        asked = time.monotonic()
        answer = await http.post("/v1/chat/completions", json=SMALL)
        if answer.status_code == status:
            assert asked - began < 1.0
            return
    raise AssertionError(f"no {status}")


@pytest.mark.slow
async def test_a_quota_is_told_apart_from_a_rate(edge: Edge) -> None:
    await in_thread(_limit)(edge.served.acme, "monthly_calls", 1)
    await edge.start_replica("rep-a", tokens=2)
    async with edge.http() as http:
        assert (await http.post("/v1/chat/completions", json=SMALL)).status_code == 200
        no = await http.post("/v1/chat/completions", json=SMALL)
    assert (no.status_code, no.headers["x-should-retry"]) == (429, "false")
    assert "retry-after" not in no.headers
    error = no.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert error["limit"]["name"] == "monthly_calls"


@pytest.mark.slow
async def test_what_the_queue_refuses_is_given_back(edge: Edge, monkeypatch: Any) -> None:
    await in_thread(_limit)(edge.served.acme, "requests_per_minute", 1)
    await edge.start_replica("rep-a", tokens=2)
    async with edge.http() as http:
        await http.get("/v1/models")
        await gateway().start()

        async def full(*args: Any) -> int:
            raise QueueFull(7)

        with monkeypatch.context() as patched:
            patched.setattr(gateway().queue, "enqueue", full)
            refused = await http.post("/v1/chat/completions", json=SMALL)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        await asyncio.sleep(0.3)
        assert (await http.post("/v1/chat/completions", json=SMALL)).status_code == 200


@pytest.mark.slow
async def test_tickets_carry_what_the_plan_entitles_to(edge: Edge, monkeypatch: Any) -> None:
    plan = await _run(
        plans.create, actor=MACHINE, slug="gold", name="Gold", weight=3, band=2, allow_priority=True
    )
    await _run(plans.assign, tenant=edge.served.acme, plan=plan, actor=MACHINE)
    await edge.start_replica("rep-a", tokens=2)
    seen: list[Any] = []
    enqueue = calls.enqueue

    def spy(keys: Any, ticket: Any, limit: int) -> Any:
        seen.append(ticket)
        return enqueue(keys, ticket, limit)

    monkeypatch.setattr(calls, "enqueue", spy)
    body = {**SMALL, "priority": -5, "metadata": {"team": "a"}}
    for slug in ("acme", "globex"):
        async with edge.http(slug) as http:
            assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    gold, plain = {ticket.id: ticket for ticket in seen}.values()
    assert (gold.weight, gold.band, gold.priority, gold.tags) == (3.0, 2, -5, {"team": "a"})
    assert (plain.weight, plain.band, plain.priority) == (1.0, 0, 0)
    assert gold.most_tokens == 4
    assert gold.prompt_tokens > 0
    assert gold.epoch


@pytest.mark.slow
async def test_a_request_that_waits_to_be_admitted_is_not_taken_for_lost(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENT_S", 0.2)
    await edge.start_replica("rep-a", tokens=3)
    async with edge.http() as http:
        assert (await http.post("/v1/chat/completions", json=SMALL)).status_code == 200
        admit = gateway().admission.admit

        async def late(*asked: Any) -> Any:
            await asyncio.sleep(1.5)  # several rounds of the watcher
            return await admit(*asked)

        monkeypatch.setattr(gateway().admission, "admit", late)
        answer = await http.post("/v1/chat/completions", json=SMALL)
    assert answer.status_code == 200, answer.text
    assert (await edge.usage(answer.headers["x-request-id"]))["outcome"] == "completed"
