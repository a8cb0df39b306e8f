"""Law L3 for chats: however a text is cut and wherever the line breaks, the reader ends up with it exactly once."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as ValkeyAway

from core.ids import new_id
from core.valkey import async_client
from inference.chat import transcript as module
from inference.chat.partials import Fenced, Partial, PartialStore, furthest
from inference.chat.transcript import Diverged, End, Transcript
from tests.chat.scripted import Script, ScriptedStream
from tests.examples import examples
from tests.waiting import until

# Letters of one to four bytes, one that needs two UTF-16 units, a combining mark and a line feed.
TEXT = st.text(alphabet="ab 中é😀\u0301\n", min_size=1, max_size=40)
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


class Killed(BaseException):
    """The web process is gone in this moment: nothing after it happens."""


class Reader:
    """What stands on a person's screen. Breaks its line when it has this many characters."""

    def __init__(self) -> None:
        self.text = ""
        self.break_at: int | None = None
        self.dies = False
        self.transcript: Transcript | None = None

    async def take(self, offset: int, text: str) -> None:
        """A delta: it must begin exactly where the screen ends."""
        assert offset == len(self.text)
        if self.break_at is not None and offset + len(text) > self.break_at:
            if self.dies:
                raise Killed  # it was kept, and is not shown
            assert self.transcript is not None
            self.transcript.end(End.INTERRUPTED)
        self.text += text


async def one_run(
    store: PartialStore, place: tuple[UUID, UUID], reader: Reader, script: Script, kept: Partial | None
) -> tuple[End | None, Partial]:
    """One connection: claim, show what is known beyond the screen, go on. Returns how it ended and what it kept."""
    tenant, message = place
    writer = new_id()
    known = furthest(await store.claim(tenant, message, writer), kept or Partial())
    reader.text += known.text[len(reader.text) :]
    transcript = Transcript(
        store=store, tenant_id=tenant, message_id=message, writer=writer, known=known, deliver=reader.take
    )
    reader.transcript = transcript
    stream: Any = ScriptedStream(script, {}, [known.tokens] if known.tokens else None)
    try:
        end = await transcript.write(stream)
    except Killed:
        return None, Partial()
    assert stream.closed_at is not None
    return end, Partial(transcript.text, transcript.tokens)


@pytest.fixture
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush per piece, so that drops fall everywhere."""
    monkeypatch.setattr(module, "FLUSH_S", 0.0)


@pytest.mark.usefixtures("_unhurried")
@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=TEXT,
    runs=st.lists(
        st.tuples(CUTS, st.integers(0, 4), st.integers(0, 40), st.booleans()), min_size=1, max_size=4
    ),
    folds=st.booleans(),
)
def test_any_cutting_and_any_drops_give_the_text_exactly_once(
    text: str, runs: list[tuple[list[int], int, int, bool]], folds: bool
) -> None:
    async def play() -> None:
        client = async_client()
        store, place, reader = PartialStore(client), (new_id(), new_id()), Reader()
        kept: Partial | None = None
        try:
            for cuts, lag, break_at, dies in [*runs, ([3], 0, 10**6, False)]:
                reader.break_at, reader.dies = break_at, dies
                script = Script(text=text, cuts=cuts, lag=lag)
                end, left = await one_run(store, place, reader, script, kept)
                if end is End.COMPLETE:
                    break
                if end is End.INTERRUPTED and folds:
                    # As the consumer does: into the database, out of Valkey.
                    kept = left
                    await client.delete(f"atrium:{{{place[0]}}}:chat:{place[1]}")
            assert reader.text == text
        finally:
            await client.aclose()

    asyncio.run(play())


async def started(
    store: PartialStore, script: Script, known: Partial | None = None
) -> tuple[Transcript, Any, list[tuple[int, str]], tuple[UUID, UUID, UUID]]:
    """A transcript with its stream and what it shows."""
    place = (new_id(), new_id(), new_id())
    shown: list[tuple[int, str]] = []

    async def deliver(offset: int, text: str) -> None:
        shown.append((offset, text))

    await store.claim(*place)
    transcript = Transcript(
        store=store,
        tenant_id=place[0],
        message_id=place[1],
        writer=place[2],
        known=known or Partial(),
        deliver=deliver,
    )
    return transcript, ScriptedStream(script, {}, None), shown, place


@pytest.fixture
async def store() -> Any:
    """The real store."""
    client = async_client()
    yield PartialStore(client)
    await client.aclose()


async def test_a_stream_that_says_something_else_than_the_screen_is_not_shown(store: PartialStore) -> None:
    known = Partial("Hello there", [1, 2, 3])
    transcript, stream, shown, _ = await started(store, Script(text="Hello world"), known)
    with pytest.raises(Diverged):
        await transcript.write(stream)
    assert shown == []
    assert transcript.text == "Hello there"


async def test_a_continued_stream_that_ends_before_the_screen_does_is_not_taken_for_whole(
    store: PartialStore,
) -> None:
    transcript, stream, _, _ = await started(store, Script(text="Hello"), Partial("Hello there", [1]))
    with pytest.raises(Diverged):
        await transcript.write(stream)


async def test_text_is_kept_before_it_is_shown(store: PartialStore) -> None:
    transcript, stream, _, place = await started(store, Script(text="x" * 200, cuts=[7], delay_s=0.01))
    seen: list[bool] = []

    async def deliver(offset: int, text: str) -> None:
        partial, _ = await store.read(place[0], place[1])
        seen.append(partial.text[offset : offset + len(text)] == text)

    transcript._deliver = deliver
    await transcript.write(stream)
    assert len(seen) > 2
    assert all(seen)


async def test_what_only_the_database_had_is_in_valkey_before_more_is_shown(store: PartialStore) -> None:
    """Else a crash would leave the continuation without its beginning, and be taken for the whole."""
    kept = Partial("Hello", [ord(letter) for letter in "Hello"])
    script = Script(text="Hello, this is long", cuts=[3])
    transcript, stream, _, place = await started(store, script, furthest(Partial(next_batch=4), kept))
    await store.write(*place, 3, "stale", [1])
    partials: list[Partial] = []

    async def deliver(offset: int, text: str) -> None:
        partials.append((await store.read(place[0], place[1]))[0])

    transcript._deliver = deliver
    assert await transcript.write(stream) is End.COMPLETE
    assert partials
    for partial in partials:
        assert len(partial.text) > len(kept.text)
        assert partial.tokens == [ord(letter) for letter in partial.text]
        assert script.text.startswith(partial.text)


@pytest.mark.slow
async def test_a_burst_of_tokens_is_one_write_per_fifty_milliseconds(
    store: PartialStore,
) -> None:
    transcript, stream, shown, _ = await started(store, Script(text="x" * 400, cuts=[1], delay_s=0.0005))
    begun = asyncio.get_running_loop().time()
    await transcript.write(stream)
    took = asyncio.get_running_loop().time() - begun
    assert len(shown) <= took / 0.05 + 2


@pytest.mark.slow
async def test_a_fenced_writer_stops_at_once_and_keeps_nothing_more(store: PartialStore) -> None:
    script = Script(text="x" * 50, cuts=[5], hold_after=20)
    transcript, stream, shown, place = await started(store, script)
    writing = asyncio.create_task(transcript.write(stream))
    while sum(len(text) for _, text in shown) < 20:
        await asyncio.sleep(0.01)
    taken_over = await store.claim(place[0], place[1], new_id())
    assert taken_over.text == "x" * 20
    # Not wait_for: before Python 3.12 a cancellation that meets the end of a Valkey call can be lost.
    await asyncio.wait([writing], timeout=3)
    assert writing.done()
    with pytest.raises(Fenced):
        await writing
    assert stream.closed_at is not None
    assert (await store.read(place[0], place[1]))[0].text == "x" * 20


async def test_a_store_that_lost_everything_gets_the_whole_answer_again(store: PartialStore) -> None:
    script = Script(text="abcdefghij" * 3, cuts=[5], hold_after=15)
    transcript, stream, shown, place = await started(store, script)
    writing = asyncio.create_task(transcript.write(stream))
    while sum(len(text) for _, text in shown) < 15:
        await asyncio.sleep(0.01)
    await store._client.delete(f"atrium:{{{place[0]}}}:chat:{place[1]}")
    script.release.set()
    assert await writing is End.COMPLETE
    assert (await store.read(place[0], place[1]))[0].text == script.text


@pytest.mark.slow
async def test_text_waits_for_a_store_that_is_away_for_a_moment(
    store: PartialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript, stream, shown, _ = await started(store, Script(text="Patience", cuts=[3]))
    write, failures = store.write, iter([True, True, False, False, False, False])

    async def flaky(*arguments: Any) -> None:
        if next(failures, False):
            raise ValkeyAway("restarting")
        await write(*arguments)

    monkeypatch.setattr(store, "write", flaky)
    assert await transcript.write(stream) is End.COMPLETE
    assert "".join(text for _, text in shown) == "Patience"


async def test_the_engine_is_stopped_at_once_although_the_store_is_away(
    store: PartialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript, stream, _, _ = await started(store, Script(text="x" * 500, cuts=[1], delay_s=0.01))

    async def away(*_: Any) -> None:
        raise ValkeyAway("down")

    monkeypatch.setattr(store, "write", away)
    writing = asyncio.create_task(transcript.write(stream))
    await until(lambda: transcript.text)
    left_at = asyncio.get_running_loop().time()
    transcript.end(End.INTERRUPTED)
    assert await asyncio.wait_for(writing, 3) is End.INTERRUPTED
    assert stream.closed_at - left_at < 1
    assert transcript.text  # the database will have it
    assert len(transcript.text) == len(transcript.tokens)


async def test_ending_before_the_stream_began_closes_it(store: PartialStore) -> None:
    transcript, stream, shown, _ = await started(store, Script())
    transcript.end(End.STOPPED)
    assert await transcript.write(stream) is End.STOPPED
    assert stream.closed_at is not None
    assert shown == []
