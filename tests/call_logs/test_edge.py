"""Requests at the edge, and the rows that they leave: who, what, how it ended, and redacted summaries."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from core.actors import system
from core.scoping import platform_scope, tenant_scope
from core.threads import in_thread
from core.valkey import sync_client
from inference import tasks
from inference.call_logs import services
from inference.call_logs.recorder import Origin, process_call_logs
from inference.errors import Rejected
from inference.gateway import gateway
from inference.models import CallLog, CallLogText
from inference.queue.keys import CALL_LOGS, USAGE
from safety.spec import Action, Direction, Kind, Severity, Verdict
from tests.call_logs.conftest import bring_in, stored
from tests.factories.tenants import LimitFactory
from tests.inference.edge import BODY, Edge, events, text_of

pytestmark = pytest.mark.usefixtures("transactional_db")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET_MAIL = "someone.private@example.com"


def asked(text: str, **extra: Any) -> dict[str, Any]:
    return {**BODY, "messages": [{"role": "user", "content": text}], **extra}


def set_policy(edge: Edge, **changes: Any) -> None:
    with tenant_scope(edge.served.acme.pk):
        services.set_policy(actor=system("tests"), **changes)


async def rows(count: int) -> list[CallLog]:
    """The rows, once there are `count` settled or refused ones."""
    found: list[CallLog] = []
    for _ in range(100):
        found = await in_thread(bring_in)()
        if sum(row.is_settled or row.outcome == "refused" for row in found) >= count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError([(row.outcome, row.is_settled) for row in found])


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_leaves_one_row_with_everything(edge: Edge, streamed: bool) -> None:
    await edge.start_replica("rep-a")
    body = asked(
        f"Write to {SECRET_MAIL}, please.",
        stream=streamed,
        user="end-user-7",
        temperature=0.5,
        max_tokens=32,
        metadata={"team": "blue"},
    )
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "User-Agent": "curious/1.0"}
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=body, headers=headers)
    said = text_of(events(answer.text)) if streamed else answer.json()["choices"][0]["message"]["content"]
    (row,) = await rows(1)
    assert row.request_id == answer.headers["x-request-id"]
    assert (row.tenant_id, row.key_id) == (edge.served.acme.pk, edge.served.keys["acme"].pk)
    assert (row.address, row.user_agent, row.trace_id) == ("127.0.0.1", "curious/1.0", TRACE)
    assert (row.route, row.model, row.replica) == ("/v1/chat/completions", "sim", "rep-a")
    assert row.version_id == edge.served.deployment.version_id
    assert (row.outcome, row.status, row.error_code) == ("completed", 200, "")
    assert row.finish_reason in ("stop", "length")
    assert row.parameters["temperature"] == 0.5
    assert row.parameters["messages"] == 1
    assert (row.end_user, row.tags, row.stream) == ("end-user-7", {"team": "blue"}, streamed)
    assert row.is_settled
    assert row.prompt_tokens > 0
    assert row.completion_tokens == 32
    assert row.first_token_ms is not None
    assert row.duration_ms >= row.first_token_ms
    assert row.prompt_summary == "user: Write to [EMAIL], please."
    assert row.response_summary.startswith(said[:100])
    assert row.response_chars == len(said)
    assert not row.has_text


async def test_what_is_on_its_way_is_redacted_already(edge: Edge) -> None:
    """SECURITY: neither the stream in Valkey nor the journal on disk holds what was written."""
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        await http.post("/v1/chat/completions", json=asked(f"I am {SECRET_MAIL}"))
    assert await in_thread(process_call_logs().settle)()
    entries = sync_client().xrange(CALL_LOGS)
    assert len(entries) == 1  # type: ignore[arg-type]
    assert SECRET_MAIL not in str(entries)
    assert "[EMAIL]" in str(entries)


async def test_a_refused_request_is_logged_with_the_limit_that_said_no(edge: Edge) -> None:
    await in_thread(LimitFactory)(tenant=edge.served.acme, kind="requests_per_minute", value=0)
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=asked("May I?", user="u-1"))
    assert answer.status_code == 429
    (row,) = await rows(1)
    assert (row.outcome, row.status) == ("refused", 429)
    assert (row.error_code, row.limit_name) == ("rate_limit_exceeded", "requests_per_minute")
    assert row.request_id == answer.headers["x-request-id"]
    assert row.prompt_summary == "user: May I?"
    assert row.end_user == "u-1"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**BODY, "model": "other"}, "model_not_found"),
        ({**BODY, "n": 10**9}, "invalid_value"),
        ("{", "invalid_json"),
    ],
)
async def test_what_cannot_be_served_is_logged_too(edge: Edge, body: Any, code: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    async with edge.http() as http:
        await http.post("/v1/chat/completions", content=content)
    (row,) = await rows(1)
    assert (row.outcome, row.error_code, row.limit_name) == ("refused", code, "")


async def test_a_key_that_may_not_call_from_there_is_in_its_tenants_log(edge: Edge) -> None:
    def fence() -> None:
        with platform_scope("tests"):
            key = edge.served.keys["acme"]
            key.allowed_networks = ["10.0.0.0/8"]
            key.save()

    await in_thread(fence)()
    async with edge.http() as http:
        assert (await http.post("/v1/chat/completions", json=BODY)).status_code == 403
    (row,) = await rows(1)
    assert (row.outcome, row.error_code, row.tenant_id) == (
        "refused",
        "address_not_allowed",
        edge.served.acme.pk,
    )


async def test_a_stranger_leaves_no_row(edge: Edge) -> None:
    async with edge.http("") as http:
        await http.post("/v1/chat/completions", json=BODY)
        await http.post(
            "/t/globex/v1/chat/completions",
            json=BODY,
            headers={"Authorization": f"Bearer {edge.served.secrets['acme']}"},
        )
    assert await in_thread(bring_in)() == []


async def test_a_client_that_leaves_is_logged_as_gone(edge: Edge) -> None:
    await edge.start_replica("rep-a", tokens=2_000, tokens_per_s=50)
    body = {**BODY, "stream": True}
    async with edge.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for _ in answer.aiter_text():
            break
    (row,) = await rows(1)
    assert (row.outcome, row.error_code) == ("cancelled", "client_gone")


async def test_verdicts_make_the_outcome_blocked(edge: Edge) -> None:
    """What the safety pipeline fills in: a verdict that refuses, and one that only flags."""
    verdict = Verdict(
        rule="rul_1",
        version=3,
        kind=Kind.TERMS,
        category="politics",
        severity=Severity.HIGH,
        action=Action.BLOCK,
        direction=Direction.IN,
        start=0,
        end=4,
    )
    caller = await gateway().caller_for_key(edge.served.secrets["acme"], "127.0.0.1")
    for number, action in enumerate((Action.BLOCK, Action.FLAG)):
        origin = Origin(request_id=f"req_{number}", route="/v1/chat/completions")
        origin.verdicts.append(msgspec.structs.replace(verdict, action=action))
        gateway().logs.refused(
            caller, origin, kind="chat", body=BODY, error=Rejected(400, "content_filter", "no")
        )
    blocked, refused = await rows(1)
    assert (blocked.outcome, refused.outcome) == ("blocked", "refused")
    assert blocked.verdicts[0]["rule"] == "rul_1"
    assert blocked.verdicts[0]["action"] == "block"


@pytest.mark.slow
async def test_a_policy_works_within_a_second(edge: Edge) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        await http.post("/v1/chat/completions", json=BODY)
        await rows(1)
        await in_thread(set_policy)(edge, level="nothing")
        began = time.monotonic()
        caller = None
        while caller is None or caller.logs.level != "nothing":
            caller = await gateway().caller_for_key(edge.served.secrets["acme"], "127.0.0.1")
            assert time.monotonic() - began < 1.0
            await asyncio.sleep(0.01)
        await http.post("/v1/chat/completions", json=BODY)
        await http.post("/v1/chat/completions", json={**BODY, "model": "other"})
        await asyncio.sleep(0.1)
    await in_thread(bring_in)()
    assert len(await in_thread(stored)()) == 1


@pytest.mark.slow
async def test_full_text_is_sealed_and_read_back_by_those_who_may(edge: Edge) -> None:
    await in_thread(set_policy)(edge, level="full", kept_entities=["EMAIL"])
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=asked(f"I am {SECRET_MAIL}", max_tokens=8))
    said = answer.json()["choices"][0]["message"]["content"]
    (row,) = await rows(1)
    assert row.has_text

    def read() -> Any:
        with tenant_scope(edge.served.acme.pk):
            sealed = CallLogText.objects.get()
            assert SECRET_MAIL.encode() not in bytes(sealed.content)
            return services.read_text(log=row, actor=system("tests"))

    text = await in_thread(read)()
    assert text.prompt == f"user: I am {SECRET_MAIL}"
    assert text.response == said


async def test_a_web_process_that_dies_before_it_notes_leaves_the_usage_records_row(edge: Edge) -> None:
    """L11's other half: the engine's record makes the row, without summaries; what comes later completes it."""
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=BODY)
    await edge.usage(answer.headers["x-request-id"])
    assert await in_thread(process_call_logs().settle)()
    await in_thread(tasks.ingest_usage)()
    (row,) = await in_thread(stored)()
    assert (row.outcome, row.is_settled, row.prompt_summary) == ("completed", True, "")
    assert row.completion_tokens == 64
    await in_thread(tasks.ingest_call_logs)()
    (again,) = await in_thread(stored)()
    assert again.pk == row.pk
    assert again.prompt_summary == "user: hello"
    assert (again.completion_tokens, again.is_settled) == (64, True)


@pytest.mark.slow
async def test_a_row_is_the_same_whatever_comes_first_and_how_often(edge: Edge) -> None:
    await edge.start_replica("rep-a")
    async with edge.http() as http:
        answer = await http.post("/v1/chat/completions", json=BODY)
    await edge.usage(answer.headers["x-request-id"])
    assert await in_thread(process_call_logs().settle)()
    valkey = sync_client()
    entries = {name: valkey.xrange(name) for name in (USAGE, CALL_LOGS)}

    def play(order: list[str]) -> dict[str, Any]:
        for name in order:
            for _, fields in entries[name]:  # type: ignore[union-attr]
                valkey.xadd(name, fields)
            tasks.ingest_usage()
            tasks.ingest_call_logs()
        (row,) = stored()
        facts = {f.attname: getattr(row, f.attname) for f in CallLog._meta.concrete_fields if f.name != "id"}
        with platform_scope("tests"):
            CallLog.objects.all().delete()
        return facts

    await in_thread(bring_in)()
    first = await in_thread(play)([USAGE, CALL_LOGS])
    assert await in_thread(play)([CALL_LOGS, USAGE]) == first
    assert await in_thread(play)([CALL_LOGS, USAGE, CALL_LOGS, USAGE]) == first
