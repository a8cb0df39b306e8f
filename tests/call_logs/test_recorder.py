"""The recorder gives way before requests do: bounded and counted; what Valkey missed comes out of the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as Away

from core.valkey import sync_client
from inference.call_logs import recorder
from inference.call_logs.policy import LogTerms
from inference.call_logs.recorder import CallLogs, Origin, origin_of
from inference.call_logs.wire import decode_note
from inference.errors import Rejected
from inference.queue import journal as journals
from inference.queue.journal import Journal
from inference.queue.keys import CALL_LOGS, written
from tests.waiting import eventually

TENANT = "01a21c15-c7fa-7195-93f2-764cdf54f530"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.close()
    sync_client().delete(written(made.name))


@pytest.fixture
def logs(journal: Journal) -> Iterator[CallLogs]:
    made = CallLogs(journal)
    yield made
    made.close()


def refuse(logs: CallLogs, number: int, *, terms: LogTerms | None = None) -> None:
    caller: Any = SimpleNamespace(
        logs=terms or LogTerms(), routes={}, tenant_id=TENANT, key_id=None, user_id=None
    )
    origin = Origin(request_id=f"req_{number}", route="/v1/chat/completions")
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    logs.refused(caller, origin, kind="chat", body=body, error=Rejected(400, "invalid_value", "no"))


def noted() -> list[str]:
    return [decode_note(fields[b"r"])["request_id"] for _, fields in sync_client().xrange(CALL_LOGS)]  # type: ignore[misc]


def test_notes_reach_stream_and_journal(logs: CallLogs, journal: Journal, tmp_path: Path) -> None:
    for number in range(300):
        refuse(logs, number)
    assert logs.settle()
    assert noted() == [f"req_{number}" for number in range(300)]
    eventually(lambda: sum(file.read_bytes().count(b"\n") for file in tmp_path.rglob("*.log")) == 300)


def test_what_valkey_missed_comes_out_of_the_journal(
    logs: CallLogs, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Any:
        raise Away("nobody there")

    monkeypatch.setattr(journals, "LOOK_S", 0.05)
    with monkeypatch.context() as broken:
        broken.setattr(recorder, "sync_client", lambda: SimpleNamespace(pipeline=lambda **_: Broken()))
        for number in range(5):
            refuse(logs, number)
        assert logs.settle()
    assert noted() == []
    eventually(lambda: journal._run_id)
    journal._run_id = "another memory"
    eventually(lambda: sorted(noted()) == [f"req_{number}" for number in range(5)])


class Broken:
    """A pipeline to a server that does not answer."""

    def xadd(self, *_: Any, **__: Any) -> None: ...

    def execute(self) -> None:
        raise Away("nobody there")


def test_a_valkey_that_does_not_answer_is_left_alone_for_a_while(
    logs: CallLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def pipeline(**_: Any) -> Broken:
        tried.append(1)
        return Broken()

    monkeypatch.setattr(recorder, "sync_client", lambda: SimpleNamespace(pipeline=pipeline))
    for number in range(3):
        refuse(logs, number)
        assert logs.settle()
    assert len(tried) == 1


def test_beyond_its_bounds_notes_are_dropped_and_counted(
    logs: CallLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST_WAITING", 10)
    monkeypatch.setattr(logs, "_start", lambda: None)
    for number in range(25):
        refuse(logs, number)
    assert len(logs._waiting) == 10
    assert logs._dropped == 15


def test_full_texts_give_way_before_summaries(logs: CallLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    from uuid import uuid4

    monkeypatch.setattr(recorder, "MOST_TEXTS", 2)
    monkeypatch.setattr(logs, "_start", lambda: None)
    terms = LogTerms(level="full", key_id=uuid4(), key=b"k" * 32)
    for number in range(5):
        refuse(logs, number, terms=terms)
    notes = [recorder.finished(raw) for raw in logs._waiting]
    assert [bool(note.content) for note in notes] == [True, True, False, False, False]
    assert {note.prompt_summary for note in notes} == {"user: hello"}


def test_a_journal_without_room_takes_usage_records_and_no_notes(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MOST_LOG_BYTES_IN_MEMORY", 100)
    monkeypatch.setattr(journal, "start", lambda: None)
    assert journal.append_log(b"x" * 60)
    assert journal.append_log(b"x" * 60) == ""
    journal._write()
    assert journal.append_log(b"x" * 60)
    journal._is_full = True
    assert journal.append_log(b"x") == ""


def test_the_stream_is_bounded_in_number_and_bytes() -> None:
    assert journals.most_notes(1_000) == 100_000
    assert journals.most_notes(256 * 1024) == 1_024
    assert journals.most_notes(10**9) == 200


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736", ""),
        (b"00-XXXX2f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ""),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n", ""),
        (b"", ""),
    ],
)
def test_only_w3cs_trace_ids_are_taken(value: bytes, trace: str) -> None:
    assert origin_of({b"traceparent": value}, address="x").trace_id == trace


def test_a_client_program_names_itself_in_printable_letters() -> None:
    origin = origin_of({b"user-agent": b"a\x00b\x1b[31m\xff" + b"c" * 500}, address="y" * 100)
    assert origin.user_agent.startswith("ab[31m")
    assert len(origin.user_agent) <= 200
    assert len(origin.address) == 64
