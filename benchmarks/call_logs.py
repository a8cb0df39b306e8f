"""What call logs cost: microseconds of the event loop per request and per token, of the thread per note, and ingestion.

    python benchmarks/call_logs.py [notes]

Needs nothing running: it starts servers of its own. Prints one line per figure. No assertion: machines differ.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from tests import services  # noqa: E402

services.start()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")

import django  # noqa: E402

django.setup()

from tests import database  # noqa: E402


def best_us(work: Callable[[], Any], times: int, rounds: int = 5) -> float:
    """Microseconds per call, the best of several rounds."""
    found = []
    for _ in range(rounds):
        gc.collect()
        began = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - began) / times * 1e6)
    return min(found)


def say(name: str, value: float, unit: str) -> None:
    print(f"{name:58} {value:12,.2f} {unit}")


PROMPT = "Please summarise the following notes from our meeting on tenants and their keys. " * 12
ANSWER = "A tenant is one customer of the platform, with walls around everything that it owns. " * 6


def loop_side() -> None:
    """What a request and a token cost the event loop."""
    from types import SimpleNamespace

    from inference.call_logs import recorder
    from inference.call_logs.policy import LogTerms
    from inference.call_logs.recorder import CallLogs, Recording, origin_of
    from inference.call_logs.summaries import Heard
    from inference.gateway.delivered import Delivered
    from inference.queue.wire import Ticket

    headers = {
        b"user-agent": b"OpenAI/Python 2.8.1",
        b"traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": PROMPT}],
        "temperature": 0.5,
        "stream": True,
    }
    ticket = Ticket(
        id="req_" + "0" * 32, web="w", attempt=0, kind="chat", tenant="01a21c15-c803-727c-8baf-473569a8f483", key=None,
        user=None, model="m", version="01a21c15-c803-727c-8baf-473569a8f483",
        deployment="01a21c15-c803-727c-8baf-473569a8f483", route="/v1/chat/completions", salt="s",
        enqueued_ms=1_790_000_000_000, deadline_ms=0, body=body,
    )  # fmt: skip
    heard = Heard()
    for word in ANSWER.split():
        heard.add(word + " ")
    stream: Any = SimpleNamespace(
        ticket=ticket, error=None, first_piece_at=1.0, started_at=0.5, replica="rep", queue_ms=3, was_cut=False,
        finish_reason="stop", whole_answer=None, completion_tokens=lambda: 80,
    )  # fmt: skip
    caller: Any = SimpleNamespace(logs=LogTerms())
    logs = CallLogs()
    logs._start = lambda: None  # type: ignore[method-assign]  # the loop's side alone

    def request() -> None:
        origin = origin_of(headers, address="127.0.0.1", route="/v1/chat/completions", request_id="req_x")
        recording = logs.begin(caller, "chat", origin, ticket.id)
        recording.heard = heard
        logs.end(recording, stream)
        logs._waiting.clear()

    say("event loop: one request, 1,000-character prompt", best_us(request, 5_000), "µs")
    chunk = b'{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"}}]}'
    plain, hearing = Delivered(), Delivered()
    hearing.hears = Heard().add
    without = best_us(lambda: plain.note(chunk), 50_000)
    with_log = best_us(lambda: hearing.note(chunk), 50_000)
    say("event loop: one streamed chunk, without a log", without, "µs")
    say("event loop: one streamed chunk, with a log", with_log, "µs")
    raw = recorder._Raw(None, LogTerms(), None, heard)  # type: ignore[arg-type]

    def finish() -> bytes:
        recording = Recording(origin_of(headers, address="127.0.0.1"), LogTerms(), "chat")
        recording.heard = heard
        logs.end(recording, stream)
        return recorder.encode_note(recorder.finished(logs._waiting.popleft()))

    say("thread: one note redacted, cut and encoded", best_us(finish, 1_000), "µs")
    say("one note on its way", float(len(finish())), "bytes")
    key = os.urandom(32)
    from uuid import uuid4

    full: Any = SimpleNamespace(logs=LogTerms(level="full", key_id=uuid4(), key=key))
    caller = full

    def sealed() -> bytes:
        recording = Recording(origin_of(headers, address="127.0.0.1"), full.logs, "chat")
        recording.heard = Heard(keeps_all=True)
        recording.heard.add(ANSWER)
        logs.end(recording, stream)
        return recorder.encode_note(recorder.finished(logs._waiting.popleft()))

    say("thread: the same with its full text sealed", best_us(sealed, 1_000), "µs")
    del raw


def ingestion(count: int) -> None:
    """Notes per second from Valkey into PostgreSQL, and a search over them."""
    import json

    from django.db import connection

    from core.scoping import tenant_scope
    from core.valkey import sync_client
    from inference.call_logs import ingestion, selectors
    from inference.call_logs.wire import CallNote, encode_note
    from inference.queue.keys import CALL_LOGS
    from tests.factories.tenants import TenantFactory

    tenant = TenantFactory(slug="acme")
    now = int(time.time() * 1000)
    pipeline: Any = sync_client().pipeline(transaction=False)
    for number in range(count):
        note = CallNote(
            request_id=f"req_{number:032x}", tenant_id=str(tenant.pk), started_ms=now - number * 30,
            finished_ms=now, outcome="completed", route="/v1/chat/completions", model="m", status=200,
            prompt_summary=f"user: {PROMPT[:680]} … number {number}", response_summary=ANSWER[:500],
            parameters={"temperature": 0.5}, user_agent="OpenAI/Python", address="192.0.2.1",
        )  # fmt: skip
        pipeline.xadd(CALL_LOGS, {"r": encode_note(note)})
        if number % 1_000 == 999:
            pipeline.execute()
    pipeline.execute()
    began = time.perf_counter()
    taken = 0
    while taken < count:
        taken += ingestion.ingest()
    say(f"ingestion: {count:,} notes", count / (time.perf_counter() - began), "notes/s")
    with tenant_scope(tenant.pk):
        for name, text in (("nothing", "no such words anywhere"), ("one row", f"number {count // 2}")):
            began = time.perf_counter()
            found = list(
                selectors.containing(selectors.call_logs(), text, since=None, until=None).order_by(
                    "-started_at", "-id"
                )[:50]
            )
            say(f"search over {count:,} rows that finds {name}", (time.perf_counter() - began) * 1e3, "ms")
            del found
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
                " WHERE inhparent = 'inference_calllog'::regclass"
            )
            say("on disk, indexes included", float(cursor.fetchone()[0]) / count, "bytes per row")
    del json


def main() -> None:
    """All figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    database.prepare("atrium_bench_logs")
    try:
        loop_side()
        ingestion(count)
    finally:
        database.disconnect()
        database.drop("atrium_bench_logs")


if __name__ == "__main__":
    main()
