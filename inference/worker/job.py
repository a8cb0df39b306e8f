"""One request at work in a replica."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from inference.queue.calls import Usage
from inference.queue.wire import Ticket
from inference.worker.port import EngineRequest


@dataclass(slots=True)
class Job:
    """One request at work."""

    ticket: Ticket
    request: EngineRequest
    started_ms: int
    seq: int = 0
    charged: Usage = (0, 0)
    outcome: str = ""  # set by whoever ends it early
    code: str = ""
    dropped: bool = False  # another replica has it now: say nothing, account for nothing
    task: asyncio.Task[None] | None = None
