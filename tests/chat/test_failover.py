"""What the chat keeps must be what the engine said, also when the gateway changed replicas in the middle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from inference.gateway.stream import Stream
from inference.queue.wire import CHUNK, Frame, Ticket

CUTS = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def ticket() -> Ticket:
    """Any request."""
    texts = dict.fromkeys(
        ("id", "web", "kind", "tenant", "model", "version", "deployment", "route", "salt"), "x"
    )
    return Ticket(**texts, attempt=0, key=None, user=None, enqueued_ms=0, deadline_ms=0, body={})


def frames(text: str, cuts: list[int], attempt: int, lag: int) -> list[Frame]:
    """One attempt at saying `text`, a token a letter, with the text `lag` letters behind the tokens."""
    made, place, turn = [], 0, 0
    while place < len(text):
        end = min(place + cuts[turn % len(cuts)], len(text))
        shown = end if end == len(text) else max(0, end - lag)
        said = text[max(0, place - lag) if place else 0 : shown]
        chunk = {"choices": [{"index": 0, "delta": {"content": said}}]}
        tokens = [(0, [ord(letter) for letter in text[place:end]])]
        made.append(Frame("x", attempt, turn, CHUNK, msgspec.json.encode(chunk), tokens))
        place, turn = end, turn + 1
    return made


@given(
    text=st.text(alphabet="abcdé中", min_size=1, max_size=30),
    attempts=st.lists(st.tuples(CUTS, st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=3),
)
def test_tokens_come_once_whatever_replicas_are_lost(
    text: str, attempts: list[tuple[list[int], int, int]]
) -> None:
    gateway: Any = SimpleNamespace(stop=lambda *_, **__: None)
    stream = Stream(gateway, SimpleNamespace(), ticket(), resumable=True)  # type: ignore[arg-type]
    for number, (cuts, lag, lost_after) in enumerate(attempts):
        for frame in frames(text, cuts, number, lag)[:lost_after]:
            stream.feed(frame)
        stream.begin_again()
    for frame in frames(text, [4], len(attempts), 0):
        stream.feed(frame)
    said, tokens = "", []
    for piece in stream._pieces:
        said += msgspec.json.decode(piece.payload)["choices"][0]["delta"]["content"]
        tokens += [token for _, ids in piece.tokens for token in ids]
    tokens += [token for _, ids in stream._held for token in ids]
    assert said == text
    assert tokens == [ord(letter) for letter in text]
