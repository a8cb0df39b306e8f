"""What the simulated engine says: a tiny model that reads a seed text aloud, from a place that the prompt
decides.

It is autoregressive like a real one: each token follows from the one before it and from nothing else, so an
answer that is forced onto another beginning goes on from there. The same body gives the same tokens, always.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from inference.tokens import bounds
from inference.worker.port import EngineRequest

_PIECE = re.compile(r"\s*(?:[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+)")


class Vocabulary:
    """The seed text in pieces; a token's id is its place in the text. The pieces joined are the text."""

    def __init__(self, text: str) -> None:
        # The leading space keeps words apart where the text begins anew.
        self.pieces = _PIECE.findall(" " + text.strip())
        if not self.pieces:
            raise ValueError("The seed text of the simulated engine has no words.")
        self.escaped = [msgspec.json.encode(piece)[1:-1] for piece in self.pieces]
        self.size = len(self.pieces)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`. An id beyond the vocabulary counts round from its start."""
        return "".join(self.pieces[token % self.size] for token in tokens)


class Choice:
    """One answer in the making."""

    __slots__ = (
        "_forced", "_held", "_next", "_stops", "_vocabulary", "ending", "finish", "generated", "index",
        "limit", "produced", "text",
    )  # fmt: skip

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        index: int,
        start: int,
        limit: int,
        ending: str,
        forced: list[int],
        stops: list[str],
        opening: str = "",
    ) -> None:
        self._vocabulary = vocabulary
        self._next = start
        self._forced = forced
        self._stops = stops
        self._held = ""
        self.index = index
        self.limit = limit
        self.ending = ending  # finish reason when the limit is reached
        self.produced = 0
        self.generated = 0  # of `produced`, those that were not forced
        self.finish = "" if limit > 0 else ending
        self.text: list[bytes] = [msgspec.json.encode(opening)[1:-1]] if opening else []

    def advance(self) -> tuple[int, bytes]:
        """The next token, and the text (JSON-escaped) that is certain with it; sets `finish` on the last
        one."""
        vocabulary = self._vocabulary
        position = self.produced
        if position < len(self._forced):
            token = self._forced[position]
        else:
            token = self._next
            self.generated += 1
        place = token % vocabulary.size
        self._next = (place + 1) % vocabulary.size
        self.produced = position + 1
        text = self._release(vocabulary.pieces[place]) if self._stops else vocabulary.escaped[place]
        if self.produced >= self.limit and not self.finish:
            self.finish = self.ending
            if self._held:
                text += msgspec.json.encode(self._held)[1:-1]
                self._held = ""
        return token, text

    def _release(self, piece: str) -> bytes:
        """The text that no stop string can claim any more. Ends the choice where one is complete."""
        text = self._held + piece
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.finish = "stop"
            self._held = ""
            return msgspec.json.encode(text[: min(found)])[1:-1]
        keep = max(_overlap(text, stop) for stop in self._stops)
        cut = len(text) - keep
        self._held = text[cut:]
        return msgspec.json.encode(text[:cut])[1:-1]


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` could be the beginning of `stop`."""
    for size in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


def _stops(body: dict[str, Any]) -> list[str]:
    stop = body.get("stop")
    return [stop] if isinstance(stop, str) and stop else [text for text in stop or () if text]


def prompts(request: EngineRequest) -> list[Any]:
    """What is to be answered, each by `n` choices: the messages, or one text or list of token ids per
    prompt."""
    return bounds.prompts_of(request.kind, request.body)


def prompt_tokens(prompt: Any) -> int:
    """How many tokens the prompt counts for, as the web process counted it."""
    return bounds.simulated(prompt)


def _start(prompt: Any, seed: Any, number: int) -> int:
    digest = hashlib.blake2b(msgspec.json.encode([prompt, seed, number]), digest_size=8).digest()
    return int.from_bytes(digest)


def choices(request: EngineRequest, vocabulary: Vocabulary, tokens: int, limit: int | None) -> list[Choice]:
    """The choices of a chat or completion; each has `tokens` tokens, or `limit` where that is less."""
    body = request.body
    count = int(body.get("n") or 1)
    shorter = limit is not None and limit < tokens
    made: list[Choice] = []
    for prompt in prompts(request):
        opening = ""
        if body.get("echo") and request.kind == "completion":
            opening = vocabulary.text(prompt) if bounds.is_token_ids(prompt) else str(prompt)
        for number in range(count):
            index = len(made)
            made.append(
                Choice(
                    vocabulary,
                    index=index,
                    start=_start(prompt, body.get("seed"), number) % vocabulary.size,
                    limit=limit if shorter and limit is not None else tokens,
                    ending="length" if shorter else "stop",
                    forced=request.forced[index] if index < len(request.forced) else [],
                    stops=_stops(body),
                    opening=opening,
                )
            )
    return made


def embedding(prompt: Any, size: int, dimensions: int) -> list[float]:
    """A unit vector that follows from the prompt alone: the first `dimensions` of `size`, scaled to length
    one."""
    noise = hashlib.shake_256(msgspec.json.encode(prompt)).digest(2 * size)
    numbers = [value / 32768.0 for value in memoryview(noise).cast("h")][:dimensions]
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


def packed(vector: list[float]) -> str:
    """The vector as OpenAI packs it: little-endian 32-bit floats in base64."""
    return base64.b64encode(array("f", vector).tobytes()).decode()
