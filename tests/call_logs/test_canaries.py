"""No prompt and no secret in any log line, whatever goes wrong on whichever route (L19, attack 14).

Each case plants a canary wherever a client may put text, and breaks something; then every line that was written is
searched. A line about a known caller's request names the request and the tenant.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from access.secrets import new_secret
from core.threads import in_thread
from core.valkey import sync_client
from inference import tasks
from inference.call_logs import recorder
from inference.call_logs.recorder import process_call_logs
from inference.gateway import Gateway
from inference.queue.keys import CALL_LOGS
from observability import logs
from tests.api.client import REST
from tests.inference.edge import BODY, Edge

pytestmark = pytest.mark.usefixtures("transactional_db")

CANARY = "canaryqzx7"
KEY = new_secret()
CHAT: dict[str, Any] = {
    **BODY,
    "messages": [
        {"role": "system", "content": f"{CANARY} system"},
        {"role": "user", "name": CANARY, "content": f"{CANARY} user"},
    ],
    "user": CANARY,
    "metadata": {CANARY: CANARY},
    "stop": [CANARY],
}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "sim", "prompt": CANARY, "user": CANARY, "suffix": CANARY},
    "/v1/embeddings": {"model": "sim", "input": [CANARY, CANARY], "user": CANARY},
}


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Everything that was written, as text and as parsed lines; debug lines too."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("DEBUG")

    def read() -> tuple[str, list[dict[str, Any]]]:
        assert process_call_logs().settle()
        out, err = capsys.readouterr()
        return out + err, [json.loads(line) for line in (out + err).splitlines() if line.startswith("{")]

    yield read
    logging.captureWarnings(False)
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


BROKEN: dict[str, Any] = {
    "served": {},
    "unknown model": {"model": CANARY},
    "wrong type": {"temperature": CANARY},
    "unknown parameter": {CANARY: CANARY},
    "senseless number": {"n": 10**9},
    "wrong shape": {"messages": CANARY, "prompt": {"x": CANARY}, "input": {"x": CANARY}},
    "streamed": {"stream": True},
}


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
async def test_no_words_in_lines_about_requests(edge: Edge, lines: Any, route: str) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        for change in BROKEN.values():
            headers = {"X-Atrium-Deadline-Ms": CANARY} if change else {}
            for extra in ({}, headers):
                await http.post(
                    route, json={**ROUTES[route], **change}, headers={"User-Agent": CANARY, **extra}
                )
        await http.post(route, content=f'{{"model": "{CANARY}", {CANARY}')
        await http.post(f"{route}/{CANARY}?{CANARY}={CANARY}", json=ROUTES[route])
        await http.get(route, params={"q": CANARY})
    async with edge.http("") as http:
        for headers in (
            {"Authorization": f"Bearer {KEY}"},
            {"Authorization": f"Basic {CANARY}"},
            {"X-Key": KEY},
        ):
            await http.post(route, json=ROUTES[route], headers=headers)
    await in_thread(tasks.ingest_usage)()
    await in_thread(tasks.ingest_call_logs)()
    text, found = await in_thread(lines)()
    assert CANARY not in text
    assert KEY not in text
    assert KEY[:30] not in text
    served = [line for line in found if line["event"] == "call.served"]
    assert len(served) >= len(BROKEN)
    assert {line["tenant_id"] for line in served} == {str(edge.served.acme.pk)}
    assert all(line["request_id"].startswith("req_") for line in served)


async def test_a_failure_of_our_own_names_request_and_tenant_and_no_words(
    edge: Edge, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: Any, caller: Any, **given: Any) -> Any:
        raise RuntimeError(f"cannot serve {given['body']!r}")

    monkeypatch.setattr(Gateway, "submit", fails)
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 500
    assert CANARY not in answer.text
    text, found = await in_thread(lines)()
    assert CANARY not in text
    (failed,) = [line for line in found if line["event"] == "openai.failed"]
    assert failed["tenant_id"] == str(edge.served.acme.pk)
    assert failed["request_id"] == answer.headers["x-request-id"]
    assert failed["exception"]


async def test_an_engine_that_fails_brings_no_words_into_a_line(edge: Edge, lines: Any) -> None:
    await edge.start_replica("rep-a", fail_rate=1.0)
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code >= 500, answer.text
    text, _ = await in_thread(lines)()
    assert CANARY not in text


async def test_the_recorder_and_the_ingestion_fail_without_words(
    edge: Edge, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await edge.start_replica("rep-a")

    def fails(raw: Any) -> Any:
        raise ValueError(f"cannot finish {raw.prompt.summary(frozenset())!r}")

    with monkeypatch.context() as broken:
        broken.setattr(recorder, "finished", fails)
        async with edge.http() as http:
            await http.post("/v1/chat/completions", json=CHAT)
        assert await in_thread(process_call_logs().settle)()
    note = {"tenant_id": str(edge.served.acme.pk), "request_id": CANARY + "\n", "prompt_summary": CANARY}
    good = {**note, "request_id": "req_1", "started_ms": 10**30, "finished_ms": 1, "outcome": CANARY}
    for record in (note, good, [CANARY], CANARY):
        sync_client().xadd(CALL_LOGS, {"r": json.dumps(record)})
    sync_client().xadd(CALL_LOGS, {"r": f"{{{CANARY}"})
    sync_client().xadd(CALL_LOGS, {CANARY: CANARY})
    await in_thread(tasks.ingest_call_logs)()
    assert sync_client().xlen(CALL_LOGS) == 0
    text, found = await in_thread(lines)()
    assert CANARY not in text
    assert "call_logs.note_failed" in {line["event"] for line in found}


def test_rest_and_its_failures_bring_no_words_into_a_line(
    lines: Any, alice_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = REST(alice_client)
    for path, body in (
        ("/erasures/", {"end_user": CANARY, "reason": "asked"}),
        ("/erasures/", {"end_user": [CANARY], "reason": {"x": CANARY}}),
        ("/log-policy/change/", {"level": CANARY, "kept_entities": [CANARY + "!"]}),
        ("/keys/", {"name": CANARY * 100, "scopes": [CANARY]}),
    ):
        rest.post(path, body)
    rest.get(f"/call-logs/?text={CANARY}&end_user={CANARY}")
    rest.get(f"/call-logs/{CANARY}/?q={CANARY}")

    def fails(**given: Any) -> Any:
        raise RuntimeError(f"messages={given!r}")

    from tenants.services import erasure

    monkeypatch.setattr(erasure, "request_end_user", fails)
    assert rest.post("/erasures/", {"end_user": CANARY, "reason": "x"}).status_code == 500
    text, found = lines()
    assert CANARY not in text.replace(f"/call-logs/{CANARY}/", "")  # a path is an address, not a body
    assert any(line.get("exception") for line in found)


async def test_lines_of_the_process_itself_name_no_request(edge: Edge, lines: Any) -> None:
    """The background work that the first request began goes on in a context of its own."""
    async with edge.http() as http:
        await http.get("/v1/models")

    async def speaks() -> None:
        structlog.get_logger("tests").info("tests.background")

    from inference.gateway import gateway

    structlog.contextvars.bind_contextvars(request_id="req_mine")
    gateway()._spawn_apart(speaks())
    gateway().spawn(speaks())
    await asyncio.sleep(0.05)
    structlog.contextvars.clear_contextvars()
    _, found = await in_thread(lines)()
    spoken = [line.get("request_id") for line in found if line["event"] == "tests.background"]
    assert sorted(spoken, key=str) == [None, "req_mine"]
