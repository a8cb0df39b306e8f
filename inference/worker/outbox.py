"""What a replica has to say, gathered per web process and sent once per engine step (law L2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.exceptions import RedisError

from inference.queue.calls import Usage
from inference.queue.client import RequestQueue
from inference.queue.journal import process_journal
from inference.queue.wire import Frame, UsageNote

log = structlog.get_logger(__name__)

WAIT_S = 0.005


class Outbox:
    """Frames wait here until the running step has given all it has; Valkey being away only makes them wait longer.

    A send that failed is sent again whole: frames are numbered, and a reader drops what it has had.
    """

    def __init__(
        self,
        queue: RequestQueue,
        deployment: str,
        on_web_gone: Callable[[str], None],
        on_sent: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._deployment = deployment
        self._on_web_gone = on_web_gone
        self._on_sent = on_sent
        self._boxes: dict[str, list[Frame]] = {}
        self._notes: list[tuple[UsageNote, str]] = []
        self._used: dict[str, Usage] = {}
        self._dirty = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, web: str, frame: Frame, *, can_wait: bool = False) -> None:
        """Add a frame; it leaves with the others of this step, or one that `can_wait` with what comes next.

        What can wait does so for no longer than WAIT_S.
        """
        box = self._boxes.get(web)
        if box is None:
            box = self._boxes[web] = []
        box.append(frame)
        self._empty.clear()
        if not can_wait:
            self._dirty.set()
        elif not self._dirty.is_set():
            asyncio.get_running_loop().call_later(WAIT_S, self._dirty.set)

    def charge(self, request_id: str, used: Usage) -> None:
        """Charge the request's tenant for what it has used so far; leaves with the next message."""
        self._used[request_id] = used
        self._dirty.set()
        self._empty.clear()

    def account(self, note: UsageNote) -> None:
        """Write a usage record and forget the request; kept until Valkey has it, and in the journal beyond that."""
        self._notes.append((note, process_journal().append(note)))
        self._dirty.set()
        self._empty.clear()

    async def run(self) -> None:
        """Send, for as long as the replica lives."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(0)  # let the other requests of this engine step add theirs
            self._dirty.clear()
            boxes, self._boxes = self._boxes, {}
            notes, self._notes = self._notes, []
            await self._send(boxes, notes)
            if not self._dirty.is_set() and not self._boxes:
                self._empty.set()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything has left; False when that took too long."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def _send(self, boxes: dict[str, list[Frame]], notes: list[tuple[UsageNote, str]]) -> None:
        delay = 0.05
        used, self._used = self._used, {}
        while boxes or notes or used:
            try:
                gone = await self._queue.send(boxes, notes=notes, deployment=self._deployment, used=used)
                boxes, notes, used = {}, [], {}
                for web in gone:
                    self._on_web_gone(web)
                self._on_sent()
            except (RedisError, OSError) as error:
                log.warning("outbox.waits_for_valkey", error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
