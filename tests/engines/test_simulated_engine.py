"""What is particular to the simulated engine: its programme."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.worker.engines import simulated_answers as answers
from inference.worker.engines.simulated import SEED_TEXT, SimulatedEngine
from inference.worker.port import Chunk, EngineDead, EngineRequest, Event
from tests.engines.asking import answer, ask, chat, error_of
from tests.examples import examples
from tests.waiting import until

STREAM = {"stream": True, "stream_options": {"include_usage": True}}
Start = Callable[..., Awaitable[SimulatedEngine]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts engines, and closes them."""
    engines: list[SimulatedEngine] = []

    async def start(**args: Any) -> SimulatedEngine:
        engine = SimulatedEngine(args)
        await engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.close()


async def test_it_says_the_programmed_number_of_tokens_one_chunk_each(start: Start) -> None:
    engine = await start(tokens=5)
    got = await answer(engine, chat("Hello", **STREAM))
    assert got.usage["completion_tokens"] == 5
    assert got.reasons == {0: "stop"}
    content = [choice for choice in got.choices if choice["delta"].get("content")]
    assert len(content) == 5


async def test_it_never_says_more_than_the_request_allows(start: Start) -> None:
    engine = await start(tokens=500)
    for field in ("max_tokens", "max_completion_tokens"):
        bound = {"max_tokens": None, field: 9}
        got = await answer(engine, ask("chat", messages=[], **bound, **STREAM))
        assert got.usage["completion_tokens"] == 9
        assert got.reasons == {0: "length"}


async def test_its_text_is_read_aloud_from_somewhere_and_over_again(start: Start) -> None:
    engine = await start(tokens=10, text="one two three")
    got = await answer(engine, chat("Hello"))
    assert got.texts[0] in (" one two three" * 5)
    assert len(got.texts[0].split()) == 10


@given(text=st.text(min_size=1, max_size=200))
@settings(max_examples=examples(100), deadline=None)
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    if not text.strip():
        with pytest.raises(ValueError, match="no words"):
            answers.Vocabulary(text)
        return
    vocabulary = answers.Vocabulary(text)
    assert vocabulary.text(range(vocabulary.size)) == " " + text.strip()


def test_chinese_is_read_character_by_character() -> None:
    assert answers.Vocabulary("every tenant 租户。").pieces == [" every", " tenant", " 租", "户", "。"]
    assert answers.Vocabulary(SEED_TEXT).size > 60


async def test_different_prompts_and_seeds_give_different_answers(start: Start) -> None:
    engine = await start(tokens=8)
    texts = {(await answer(engine, chat(f"Hello {number}"))).texts[0] for number in range(20)}
    assert len(texts) > 10
    seeded = {(await answer(engine, chat("Hello", seed=number))).texts[0] for number in range(20)}
    assert len(seeded) > 10


@given(
    stops=st.lists(st.text("abc ", min_size=1, max_size=4), min_size=1, max_size=3),
    text=st.text("abc ", min_size=1, max_size=40).filter(lambda text: text.strip()),
    limit=st.integers(1, 30),
)
@settings(max_examples=examples(200), deadline=None)
def test_nothing_of_a_stop_string_is_ever_let_out(stops: list[str], text: str, limit: int) -> None:
    vocabulary = answers.Vocabulary(text)
    free = vocabulary.text([place % vocabulary.size for place in range(limit)])
    choice = answers.Choice(
        vocabulary, index=0, start=0, limit=limit, ending="length", forced=[], stops=stops
    )
    said = ""
    while not choice.finish:
        said += choice.advance()[1].decode()
        assert free.startswith(said)
        assert not any(stop in said for stop in stops)
    ends = [free.index(stop) for stop in stops if stop in free]
    if not ends:
        assert said == free
        return
    # The earliest stop that is complete ends the answer; one that begins earlier may still have been growing.
    assert choice.finish == "stop"
    assert len(said) <= max(ends)


async def test_the_first_token_keeps_its_time(start: Start) -> None:
    engine = await start(tokens=3, first_token_ms=80)
    request = chat("Hello", **STREAM)
    began = time.monotonic()
    await answer(engine, request)
    assert request.meter.first_token_at is not None
    assert 0.08 <= request.meter.first_token_at - began < 0.3


@pytest.mark.slow
async def test_the_rate_holds_however_many_run(start: Start) -> None:
    engine = await start(tokens=50, tokens_per_s=250)
    for count in (1, 32):
        began = time.monotonic()
        await asyncio.gather(
            *(answer(engine, chat(f"Hello {number}", max_tokens=50)) for number in range(count))
        )
        assert 0.19 <= time.monotonic() - began < 2


@pytest.mark.slow
async def test_a_rest_makes_no_backlog(start: Start) -> None:
    engine = await start(tokens=20, tokens_per_s=200)
    await answer(engine, chat("Hello"))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await answer(engine, chat("Hello"))
    assert time.monotonic() - began >= 0.09


async def test_the_loop_is_free_between_steps(start: Start) -> None:
    engine = await start(tokens=2000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await answer(engine, chat("Hello", max_tokens=2000))
    counter.cancel()
    assert turns > 1500


async def test_the_failure_rate_follows_from_the_ids(start: Start) -> None:
    engine = await start(tokens=1, fail_rate=0.3)
    requests = [chat("Hello") for _ in range(400)]
    for number, request in enumerate(requests):
        request.id = f"one-of-many-{number}"
    fates = [(await answer(engine, request)).failure for request in requests]
    failed = [failure for failure in fates if failure is not None]
    assert 80 < len(failed) < 160
    assert {failure.status for failure in failed} == {500}
    assert error_of(failed[0])["type"] == "server_error"
    again = [(await answer(engine, request)).failure is not None for request in requests]
    assert again == [failure is not None for failure in fates]


async def test_a_stalled_request_hangs_alone_until_it_is_given_up(start: Start) -> None:
    engine = await start(tokens=20, stall_after=7)
    request = chat("Hello", **STREAM)
    reader = asyncio.create_task(answer(engine, request))
    await until(lambda: request.meter.completion_tokens == 7)
    await asyncio.sleep(0.05)
    assert request.meter.completion_tokens == 7
    assert engine.counters().running == 1
    short = await answer(engine, chat("Hello", max_tokens=6))
    assert short.reasons == {0: "length"}
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert engine.counters().running == 0
    assert engine.counters().aborted == 1


async def test_a_programmed_death_ends_all_requests_with_what_they_had(start: Start) -> None:
    engine = await start(tokens=20, die_after=7)
    requests = [chat(f"Hello {number}", **STREAM) for number in range(3)]
    seen: list[int] = []

    async def read(number: int) -> None:
        got: list[Event] = []
        with pytest.raises(EngineDead):
            await _gather(engine, requests[number], got)
        seen.append(sum(len(event.tokens) for event in got if isinstance(event, Chunk)))

    await asyncio.gather(*(read(number) for number in range(3)))
    assert max(seen) == 7
    assert all(count >= 6 for count in seen)
    assert [request.meter.completion_tokens for request in requests] == sorted(seen, reverse=True)
    with pytest.raises(EngineDead):
        await engine.check_health()
    with pytest.raises(EngineDead):
        await answer(engine, chat("Hello"))
    assert engine.counters().running == 0
    assert engine.counters().aborted == 0


async def test_a_drill_of_deaths_comes_to_its_end_by_resuming(start: Start) -> None:
    """Each replica dies after seven tokens of its own; four of them finish the answer."""
    whole = await answer(await start(tokens=20), chat("Hello", **STREAM))
    tokens: list[int] = []
    for deaths in range(4):  # noqa: B007 - how many is asked afterwards
        engine = await start(tokens=20, die_after=7)
        request = chat("Hello", **STREAM)
        request.forced = [tokens]
        events: list[Event] = []
        with suppress(EngineDead):
            await _gather(engine, request, events)
        chunks = [event for event in events if isinstance(event, Chunk)]
        got = [token for chunk in chunks for _, ids in chunk.tokens for token in ids]
        assert got[: len(tokens)] == tokens
        tokens = got
        if request.meter.finish_reason:
            break
    assert deaths == 2
    assert {0: tokens} == whole.tokens


async def test_it_goes_on_from_where_a_forced_prefix_ends(start: Start) -> None:
    engine = await start(tokens=5, text="a b c d e f g")
    for forced, expected in (([2, 0], [2, 0, 1, 2, 3]), ([6], [6, 0, 1, 2, 3]), ([100], [100, 3, 4, 5, 6])):
        got = await answer(engine, ask("chat", [forced], messages=[], **STREAM))
        assert got.tokens == {0: expected}
        assert got.usage["completion_tokens"] == 5


async def test_more_than_its_capacity_waits(start: Start) -> None:
    engine = await start(tokens=5, capacity=4, first_token_ms=20)
    readers = [asyncio.create_task(answer(engine, chat(f"Hello {number}"))) for number in range(10)]
    await asyncio.sleep(0.005)
    assert engine.counters().running == 4
    assert engine.counters().waiting == 6
    readers[-1].cancel()
    got = await asyncio.gather(*readers[:-1])
    assert all(one.reasons == {0: "stop"} for one in got)
    assert engine.counters().waiting == engine.counters().running == 0
    assert engine.counters().completion_tokens == 9 * 5, "nobody works for who has left the queue"
    assert engine.counters().aborted == 1


async def test_closing_ends_what_runs(start: Start) -> None:
    engine = await start(tokens=5, first_token_ms=60_000)
    reader = asyncio.create_task(answer(engine, chat("Hello")))
    await until(lambda: engine.counters().running == 1)
    await engine.close()
    with pytest.raises(EngineDead):
        await reader
    await engine.close()
    with pytest.raises(EngineDead):
        await engine.check_health()


async def test_an_engine_that_was_not_started_serves_nothing() -> None:
    with pytest.raises(EngineDead):
        await answer(SimulatedEngine({}), chat("Hello"))


async def test_an_error_of_the_loop_ends_its_readers_and_never_hangs_them(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await start()
    monkeypatch.setattr(engine, "_advance", None)
    with pytest.raises(EngineDead):
        await answer(engine, chat("Hello"))


async def test_busy_time_is_the_time_in_which_something_ran(start: Start) -> None:
    engine = await start(tokens=1, first_token_ms=50)
    await asyncio.sleep(0.05)
    assert engine.counters().busy_s == 0
    await asyncio.gather(*(answer(engine, chat("Hello")) for _ in range(4)))
    assert 0.05 <= engine.counters().busy_s < 0.15


async def test_echo_without_tokens_gives_the_prompt_back(start: Start) -> None:
    engine = await start()
    for stream in (False, True):
        got = await answer(engine, ask("completion", prompt="Once", echo=True, max_tokens=0, stream=stream))
        assert got.texts == {0: "Once"}
        assert got.reasons == {0: "length"}
        assert got.request.meter.completion_tokens == 0


async def test_token_ids_are_prompts_too(start: Start) -> None:
    engine = await start(tokens=3, text="a b c d")
    got = await answer(engine, ask("completion", prompt=[0, 2], echo=True))
    assert got.texts[0].startswith(" a c")
    assert got.usage["prompt_tokens"] == 2
    got = await answer(engine, ask("completion", prompt=[[0, 2], [1, 2, 3]]))
    assert sorted(got.texts) == [0, 1]
    assert got.usage["prompt_tokens"] == 5


async def test_prompt_and_answer_together_fit_the_context(start: Start) -> None:
    engine = await start(tokens=64, context_length=10)
    got = await answer(engine, ask("completion", prompt=[1, 2, 3, 4, 5, 6], max_tokens=64))
    assert got.usage == {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}
    assert got.reasons == {0: "length"}
    got = await answer(engine, ask("completion", prompt=list(range(10))))
    assert error_of(got.failure)["code"] == "context_length_exceeded"


async def test_leaving_stops_within_one_step(start: Start) -> None:
    engine = await start(tokens=1000)
    request = chat("Hello", max_tokens=1000, **STREAM)
    async with aclosing(engine.run(request)) as events:  # type: ignore[type-var]
        async for event in events:
            if event.tokens:  # type: ignore[union-attr]
                break
    used = request.meter.completion_tokens
    await asyncio.sleep(0.02)
    assert request.meter.completion_tokens == used <= 2


@pytest.mark.parametrize(
    "args",
    [{"tokens": -1}, {"tokens": "many"}, {"unknown": 1}, {"text": ""}, {"text": "  "}, {"fail_rate": 2}],
)
def test_arguments_that_make_no_sense_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="simulated engine"):
        SimulatedEngine(args)


async def test_64_streams_of_64_tokens_are_cheap(start: Start) -> None:
    """Far above what the queue and the web processes carry, also on a busy machine (measured: over
    150,000/s)."""
    engine = await start(tokens=64)
    best = 0.0
    for _ in range(5):
        began = time.process_time()
        got = await asyncio.gather(*(_count(engine, number) for number in range(64)))
        best = max(best, sum(got) / (time.process_time() - began))
    assert sum(got) == 64 * 64
    assert best > 40_000


async def _gather(engine: SimulatedEngine, request: EngineRequest, got: list[Event]) -> None:
    async for event in engine.run(request):
        got.append(event)


async def _count(engine: SimulatedEngine, number: int) -> int:
    request = chat(f"Hello {number}", max_tokens=64, stream=True)
    count = 0
    async for event in engine.run(request):
        count += len(event.tokens)  # type: ignore[union-attr]
    return count
