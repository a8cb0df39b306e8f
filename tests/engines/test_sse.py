"""Server-sent events: the same events however the bytes are cut, and a bound that nothing passes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.worker.engines.sse import EventTooLarge, ServerEvent, SSEParser
from tests.examples import examples


def parse(pieces: list[bytes], limit: int = 1 << 20) -> tuple[list[ServerEvent], bool]:
    """The events, and whether the parser gave up."""
    parser = SSEParser(limit)
    events: list[ServerEvent] = []
    try:
        for piece in pieces:
            events.extend(parser.feed(piece))
        events.extend(parser.close())
    except EventTooLarge:
        return events, True
    return events, False


def data_of(stream: bytes) -> list[bytes]:
    return [event.data for event in parse([stream])[0]]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: one\n\ndata: two\n\n", [b"one", b"two"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", [b"one", b"two"]),
        (b"data: one\r\rdata: two\r\r", [b"one", b"two"]),
        (b"data:one\n\n", [b"one"]),
        (b"data:  one\n\n", [b" one"]),
        (b"data: one\ndata: two\n\n", [b"one\ntwo"]),
        (b"data: {\ndata: }\r\n\n", [b"{\n}"]),
        (b": a comment\n\ndata: one\n:\n\n", [b"one"]),
        (b"id: 7\nretry: 5\nwhat: ever\ndata: one\n\n", [b"one"]),
        (b"event: ping\n\ndata: one\n\n", [b"one"]),
        (b"data\n\n", [b""]),
        (b"\xef\xbb\xbfdata: one\n\n", [b"one"]),
        (b"data: one\n", [b"one"]),
        (b"data: one", [b"one"]),
        (b"\n\n\n", []),
        (b"", []),
        ("data: 租户\u2028\n\n".encode(), ["租户\u2028".encode()]),
    ],
)
def test_it_reads_what_servers_write(stream: bytes, expected: list[bytes]) -> None:
    assert data_of(stream) == expected


def test_an_event_carries_its_name() -> None:
    assert parse([b"event: error\ndata: x\n\ndata: y\n\n"])[0] == [
        ServerEvent("error", b"x"),
        ServerEvent("", b"y"),
    ]


@given(
    lines=st.lists(
        st.sampled_from(
            [
                b"data: {}",
                b"data: \xe7\xa7\x9f",
                b"data",
                b": ping",
                b"event: e",
                b"",
                b"id: 1",
                b"nonsense",
                b"x" * 9,
            ]
        ),
        max_size=12,
    ),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=12, max_size=12),
    mark=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=20),
    limit=st.sampled_from([4, 8, 1000]),
)
@settings(max_examples=examples(300), deadline=None)
def test_any_cutting_gives_the_same_events(
    lines: list[bytes], ends: list[bytes], mark: bool, cuts: list[int], limit: int
) -> None:
    stream = (b"\xef\xbb\xbf" if mark else b"") + b"".join(
        line + end for line, end in zip(lines, ends, strict=False)
    )
    places = sorted({min(cut, len(stream)) for cut in cuts})
    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    assert parse(pieces, limit) == parse([stream], limit)
    assert parse([bytes([byte]) for byte in stream], limit) == parse([stream], limit)


@given(stream=st.binary(max_size=200), size=st.integers(1, 7))
@settings(max_examples=examples(300), deadline=None)
def test_any_bytes_at_all_are_read_the_same_in_small_pieces(stream: bytes, size: int) -> None:
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert parse(pieces) == parse([stream])


def test_a_line_without_end_is_given_up() -> None:
    parser = SSEParser(1000)
    for _ in range(10):
        list(parser.feed(b"data: " + b"x" * 94))
    with pytest.raises(EventTooLarge):
        list(parser.feed(b"x"))


def test_an_event_of_endless_lines_is_given_up() -> None:
    parser = SSEParser(1000)
    assert list(parser.feed(b"data: xxxx xxxx\n" * 100)) == []
    with pytest.raises(EventTooLarge):
        list(parser.feed(b"data: x\n"))


def test_events_up_to_the_bound_pass() -> None:
    events, gave_up = parse([b"data: " + b"x" * 94 + b"\n\n"], limit=100)
    assert [len(event.data) for event in events] == [94]
    assert not gave_up
