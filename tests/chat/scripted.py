"""A gateway whose engine says what a test wrote down; callers, routes and policies are the real ones.

Tokens are the code points of the text. Like a detokenizer, the engine may know tokens before it lets their text out;
when it resumes, it says everything from the beginning again, in other pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.ids import new_id
from inference.gateway import Caller, Gateway, Piece, Rejected


@dataclass
class Script:
    """What the engine says to the next requests. `cuts` are sizes of pieces, used in turn; `lag` how many tokens the
    text is behind; `hold_after` stops it there until `release` is set; `fail_after` breaks it there."""

    text: str = "Atrium is one hall with private rooms."
    cuts: list[int] = field(default_factory=lambda: [4])
    lag: int = 0
    delay_s: float = 0.0
    hold_after: int | None = None
    fail_after: int | None = None
    failure: Rejected = field(default_factory=lambda: Rejected(503, "replica_lost", "The replica was lost."))
    refusal: Rejected | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedStream:
    """One request. `closed_at` says when the engine was told to stop."""

    def __init__(self, script: Script, body: dict[str, Any], resume_from: list[list[int]] | None) -> None:
        self.request_id = f"req_{new_id().hex}"
        self.script = script
        self.body = body
        self.resume_from = resume_from
        self.produced = 0
        self.closed_at: float | None = None
        self.interrupted = asyncio.Event()
        self.error: Rejected | None = None

    def interrupt(self, error: Rejected) -> None:
        """As the gateway does when a tenant is suspended."""
        self.error = error
        self.interrupted.set()

    async def close(self) -> None:
        """Note the moment; harmless twice."""
        if self.closed_at is None:
            self.closed_at = asyncio.get_running_loop().time()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        script, place, turn = self.script, 0, 0
        forced = len(self.resume_from[0]) if self.resume_from else 0
        yield self._piece("", [])
        while place < len(script.text):
            size = max(1, script.cuts[turn % len(script.cuts)])
            end = min(place + size, len(script.text))
            if place >= forced:
                await self._pause(place)
            tokens = [ord(letter) for letter in script.text[place:end]]
            shown = end if end == len(script.text) else max(0, end - script.lag)
            said = max(0, place - script.lag) if place < len(script.text) else place
            self.produced = end
            yield self._piece(script.text[said:shown], tokens)
            place, turn = end, turn + 1
        yield self._last()

    async def _pause(self, place: int) -> None:
        script = self.script
        if script.fail_after is not None and place >= script.fail_after:
            raise script.failure
        waits = [asyncio.ensure_future(self.interrupted.wait())]
        if script.hold_after is not None and place >= script.hold_after and not script.release.is_set():
            waits.append(asyncio.ensure_future(script.release.wait()))
        else:
            waits.append(asyncio.ensure_future(asyncio.sleep(script.delay_s)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.error is not None:
            raise self.error

    def _piece(self, text: str, tokens: list[int]) -> Piece:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        return Piece(_chunk(choices=[choice]), [(0, tokens)] if tokens else [])

    def _last(self) -> Piece:
        total = len(self.script.text)
        usage = {"prompt_tokens": 7, "completion_tokens": total, "total_tokens": total + 7}
        return Piece(_chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=usage), [])


class ScriptedGateway(Gateway):
    """The real gateway but for its engines and its connections."""

    def __init__(self) -> None:
        super().__init__()
        self.script = Script()
        self.sent: list[ScriptedStream] = []

    def launch(self) -> None:
        """No connections are needed. Nobody reads policy events either, so the database is asked every time."""

    async def caller_for_key(self, secret: str, address: str) -> Caller:
        """The key's caller, fresh."""
        self.policies.forget(None)
        return await super().caller_for_key(secret, address)

    async def caller_for_member(self, user_id: Any, tenant_id: Any, address: str) -> Caller:
        """The member's caller, fresh."""
        self.policies.forget(None)
        return await super().caller_for_member(user_id, tenant_id, address)

    async def submit(  # type: ignore[override]
        self,
        caller: Caller,
        *,
        kind: str,
        body: dict[str, Any],
        route: str,
        resume_from: list[list[int]] | None = None,
        origin: Any = None,
    ) -> ScriptedStream:
        """Begin the script; a continued answer must bring the tokens that were said."""
        caller.route(body["model"])
        if self.script.refusal is not None:
            raise self.script.refusal
        assert (kind, route, body["stream"]) == ("chat", "/ws/chat/", True)
        stream = ScriptedStream(self.script, body, resume_from)
        self.sent.append(stream)
        return stream


def _chunk(**fields: Any) -> bytes:
    return msgspec.json.encode(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", **fields}
    )
