"""An incremental parser for server-sent events (WHATWG HTML §9.2), bounded, for bytes that are cut
anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 8 * 1024 * 1024


class ServerEvent(NamedTuple):
    """One event: `name` is empty unless the server sent one; the lines of `data` are joined by a newline."""

    name: str
    data: bytes


class EventTooLarge(ValueError):
    """A line or an event is larger than the bound; the stream cannot be trusted any further."""


class SSEParser:
    """Feed bytes, get events. How the bytes are cut changes nothing, neither the events nor where it raises.

    Raises EventTooLarge when one line, or the data of one event, has more than `limit` bytes. Cost is linear
    in the bytes fed.
    """

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer that hold no line end
        self._after_cr = False
        self._first_line = True
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """The events that `data` completes. The iterator must be read to its end before the next call."""
        if self._after_cr and data:
            # The CR before the cut ended its line already; an LF right behind it belongs to the same line
            # end.
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        buffer = self._buffer
        buffer += data
        start = 0
        end = _LINE_END.search(buffer, self._scanned)
        while end is not None:
            if end.start() - start > self._limit:
                raise EventTooLarge("A line of the stream is too long.")
            line = bytes(buffer[start : end.start()])
            start = end.end()
            self._after_cr = start == len(buffer) and end.group() == b"\r"
            event = self._line(line)
            if event is not None:
                yield event
            end = _LINE_END.search(buffer, start)
        del buffer[:start]
        self._scanned = len(buffer)
        if len(buffer) > self._limit:
            raise EventTooLarge("A line of the stream is too long.")

    def close(self) -> Iterator[ServerEvent]:
        """What the end of the stream completes. A browser drops an event without its blank line; a server
        that forgets the last one is common, and whether the data is whole shows when it is read as JSON."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        events = [self._line(rest) if rest else None, self._line(b"")]
        yield from (event for event in events if event is not None)

    def _line(self, line: bytes) -> ServerEvent | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            self._size += len(value) + 1
            if self._size > self._limit + 1:
                raise EventTooLarge("An event of the stream is too long.")
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
        return None  # comments (an empty field), id, retry and unknown fields say nothing to us

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name, self._data
        self._name, self._data, self._size = "", [], 0
        return ServerEvent(name, b"\n".join(data)) if data else None
