"""Bodies in front of Django: bounded in size and in time."""

from __future__ import annotations

import asyncio
import json
from collections import deque

import pytest

from config.bounds import BoundedBodies


@pytest.fixture
def limits(settings):
    """Small ones."""
    settings.MAX_BODY_BYTES, settings.BODY_TIMEOUT_S = 100, 0.2


async def serve(messages, *, headers=(), pause_s=0.0):
    """What a client gets that sends these pieces, and what the application behind has read."""
    waiting, sent, read = deque(messages), [], []

    async def receive():
        await asyncio.sleep(pause_s)
        if waiting:
            return waiting.popleft()
        await asyncio.sleep(60)
        return None

    async def send(message):
        sent.append(message)

    async def application(scope, receive, send):
        while True:
            message = await receive()
            read.append(message)
            if message["type"] == "http.disconnect":
                return
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    scope = {"type": "http", "method": "POST", "path": "/api/v1/keys/", "headers": list(headers)}
    await asyncio.wait_for(BoundedBodies(application)(scope, receive, send), 5)
    return sent, read


def piece(size, *, more=False):
    """One piece of a body."""
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


async def test_a_body_within_bounds_passes(limits):
    sent, read = await serve([piece(60, more=True), piece(40)])
    assert sent[0]["status"] == 200
    assert sum(len(message["body"]) for message in read) == 100


@pytest.mark.parametrize("announced", [b"101", b"9" * 30, b"-1", b"many"])
async def test_a_body_announced_too_large_is_not_read(limits, announced):
    sent, read = await serve([piece(1)], headers=[(b"content-length", announced)])
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["code"] == "too_large"
    assert read == []


async def test_a_body_that_turns_out_too_large_is_cut_off(limits):
    sent, read = await serve([piece(60, more=True), piece(60, more=True), piece(60)])
    assert [message["status"] for message in sent if "status" in message] == [413]
    assert [message["type"] for message in read] == ["http.request", "http.disconnect"]


async def test_a_body_that_never_ends_is_cut_off(limits):
    drip = [piece(1, more=True) for _ in range(90)]
    sent, _read = await serve(drip, pause_s=0.02)
    assert [message["status"] for message in sent if "status" in message] == [408]


async def test_websockets_are_left_alone(limits):
    seen = []

    async def application(scope, receive, send):
        seen.append((receive, send))

    receive, send = object(), object()
    await BoundedBodies(application)({"type": "websocket"}, receive, send)
    assert seen == [(receive, send)]
