"""The queue's atomic steps on a real Valkey: order, bounds, cancelling, handing over, accounting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import NoScriptError

from core.valkey import async_client
from inference.queue import calls
from inference.queue.client import QueueFull, RequestQueue
from inference.queue.keys import USAGE, outbox
from inference.queue.wire import CHUNK, Frame, Ticket, UsageNote, decode_frames, decode_ticket, decode_usage


@pytest.fixture
async def queue() -> AsyncIterator[RequestQueue]:
    client = async_client()
    yield RequestQueue(client)
    await client.aclose()


@pytest.fixture
def deployment() -> str:
    return str(uuid4())


def ticket(deployment: str, tenant: str, name: str, **extra: Any) -> Ticket:
    fields: dict[str, Any] = {
        "id": name, "web": "web-1", "attempt": 0, "kind": "chat", "tenant": tenant, "key": None, "user": None,
        "model": "m", "version": "v", "deployment": deployment, "route": "/v1/chat/completions", "salt": "s",
        "enqueued_ms": 1, "deadline_ms": 2, "body": {"messages": []},
    }  # fmt: skip
    return Ticket(**{**fields, **extra})


def note(deployment: str, request_id: str) -> UsageNote:
    return UsageNote(
        request_id=request_id, tenant_id="t", key_id=None, user_id=None, model="m", version_id="v",
        deployment_id=deployment, replica="r", route="/v1", stream=False, prompt_tokens=1, cached_tokens=0,
        completion_tokens=2, queue_ms=0, first_token_ms=None, duration_ms=3, outcome="completed", error_code="",
        end_user="", started_ms=1, finished_ms=4,
    )  # fmt: skip


async def pulled(queue: RequestQueue, deployment: str, room: int, replica: str = "rep-1") -> list[str]:
    return [decode_ticket(payload).id for payload in await queue.pull(deployment, replica, room)]


async def test_only_a_request_that_was_admitted_is_taken_behind_its_admission(
    queue: RequestQueue, deployment: str
) -> None:
    admitted_in = f"test:admitted:{deployment}"
    await queue.client.hset(admitted_in, "let-in", 1)
    commands = [
        queue.enqueue_when_admitted(ticket(deployment, "a", name), 100, admitted_in)
        for name in ("let-in", "refused")
    ]
    taken, refused = await queue.client.ask(commands)
    if isinstance(taken, NoScriptError):  # the first to use it on this server
        await queue.enqueue(ticket(deployment, "b", "loads-it"), 100)
        taken, refused = await queue.client.ask(commands)
    assert calls.enqueued(taken) == 1
    assert refused == [2]
    assert "let-in" in (waiting := await pulled(queue, deployment, 9))
    assert "refused" not in waiting
    await queue.client.delete(admitted_in)


async def test_tenants_take_turns_whoever_came_first(queue: RequestQueue, deployment: str) -> None:
    for number in range(4):
        await queue.enqueue(ticket(deployment, "loud", f"loud-{number}"), 100)
    await queue.enqueue(ticket(deployment, "quiet", "quiet-0"), 100)
    order = await pulled(queue, deployment, 5)
    assert order.index("quiet-0") <= 1
    assert [name for name in order if name.startswith("loud")] == ["loud-0", "loud-1", "loud-2", "loud-3"]


async def test_a_tenant_gets_no_credit_for_time_away(queue: RequestQueue, deployment: str) -> None:
    for number in range(10):
        await queue.enqueue(ticket(deployment, "busy", f"busy-{number}"), 100)
    assert len(await pulled(queue, deployment, 6)) == 6
    for number in range(4):
        await queue.enqueue(ticket(deployment, "back", f"back-{number}"), 100)
    order = await pulled(queue, deployment, 4)
    assert sum(name.startswith("back") for name in order) <= 3  # not all four before the busy one's next


async def test_a_repeated_enqueue_queues_once(queue: RequestQueue, deployment: str) -> None:
    await queue.enqueue(ticket(deployment, "a", "one"), 100)
    await queue.enqueue(ticket(deployment, "a", "one"), 100)
    assert await pulled(queue, deployment, 10) == ["one"]


async def test_a_full_queue_refuses_only_its_own_tenant(queue: RequestQueue, deployment: str) -> None:
    await queue.enqueue(ticket(deployment, "a", "a-1"), 1)
    with pytest.raises(QueueFull) as caught:
        await queue.enqueue(ticket(deployment, "a", "a-2"), 1)
    assert caught.value.waiting == 1
    await queue.enqueue(ticket(deployment, "b", "b-1"), 1)
    assert sorted(await pulled(queue, deployment, 10)) == ["a-1", "b-1"]


async def test_pull_takes_no_more_than_there_is_room_for(queue: RequestQueue, deployment: str) -> None:
    for number in range(5):
        await queue.enqueue(ticket(deployment, "a", f"r-{number}"), 100)
    assert len(await pulled(queue, deployment, 2)) == 2
    assert len(await pulled(queue, deployment, 9)) == 3
    assert await pulled(queue, deployment, 9) == []


async def test_cancelling_what_waits_takes_it_out(queue: RequestQueue, deployment: str) -> None:
    await queue.enqueue(ticket(deployment, "a", "gone"), 100)
    await queue.enqueue(ticket(deployment, "a", "stays"), 100)
    assert await queue.cancel(deployment, "a", "gone") == ""
    assert await queue.cancel(deployment, "a", "gone") is None
    assert await pulled(queue, deployment, 9) == ["stays"]


async def test_cancelling_what_runs_tells_its_replica(queue: RequestQueue, deployment: str) -> None:
    await queue.enqueue(ticket(deployment, "a", "runs"), 100)
    await pulled(queue, deployment, 1, "rep-7")
    assert await queue.cancel(deployment, "a", "runs") == "rep-7"
    orders = await queue.client.xrange(queue.keys(deployment).control("rep-7"))
    assert orders[0][1] == {b"cancel": b"runs"}


async def test_a_lost_replicas_request_goes_to_the_head_once(queue: RequestQueue, deployment: str) -> None:
    await queue.enqueue(ticket(deployment, "a", "first"), 100)
    await pulled(queue, deployment, 1, "rep-dead")
    await queue.enqueue(ticket(deployment, "a", "second"), 100)
    again = ticket(deployment, "a", "first", attempt=1, forced=[[1, 2]])
    assert await queue.requeue(again, "rep-dead")
    assert not await queue.requeue(again, "rep-dead")
    payloads = await queue.pull(deployment, "rep-new", 5)
    tickets = [decode_ticket(payload) for payload in payloads]
    assert [(t.id, t.attempt, t.forced) for t in tickets] == [("first", 1, [[1, 2]]), ("second", 0, [])]


async def test_only_the_replica_that_has_it_can_lose_it(queue: RequestQueue, deployment: str) -> None:
    await queue.enqueue(ticket(deployment, "a", "mine"), 100)
    await pulled(queue, deployment, 1, "rep-alive")
    assert not await queue.requeue(ticket(deployment, "a", "mine", attempt=1), "rep-other")


async def test_accounting_writes_the_record_before_it_forgets(queue: RequestQueue, deployment: str) -> None:
    await queue.enqueue(ticket(deployment, "a", "done"), 100)
    await pulled(queue, deployment, 1)
    name = f"done-{uuid4()}"
    await queue.account(note(deployment, name))
    entries = await queue.client.xrevrange(USAGE, count=50)
    assert name in [decode_usage(fields[b"r"])["request_id"] for _, fields in entries]
    await queue.account(note(deployment, "done"))
    assert await queue.cancel(deployment, "a", "done") is None


async def test_frames_for_a_web_process_that_is_gone_are_reported(queue: RequestQueue) -> None:
    here, gone = f"web-{uuid4()}", f"web-{uuid4()}"
    await queue.client.xadd(outbox(here), {"f": b"\x90"})
    frame = Frame("r", 0, 0, CHUNK, b"{}", [(0, [5])])
    assert await queue.send({here: [frame], gone: [frame]}) == {gone}
    assert not await queue.client.exists(outbox(gone))
    entries = await queue.client.xrange(outbox(here))
    assert decode_frames(entries[-1][1][b"f"]) == [frame]


async def test_heartbeats_carry_valkeys_own_clock(queue: RequestQueue) -> None:
    key = f"test:{uuid4()}"
    await queue.beat(key, "one", {"state": "ready"})
    await queue.beat(key, "empty", {})
    beats = await queue.beats(key)
    assert beats["one"]["state"] == "ready"
    assert 0 <= beats["one"]["age_ms"] < 5_000
    assert 0 <= beats["empty"]["age_ms"] < 5_000
    await queue.client.delete(key)
