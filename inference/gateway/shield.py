"""What an answer says, on its way out: every text of it passes its tenant's guard, streamed or whole.

Each choice has a transducer for each of its texts (content, reasoning, a tool call's arguments), which holds text back
while it could still become a match, and gives the same whatever the chunks are (law L21). A chunk of which nothing
changes leaves as it came. After a refusal nothing of that choice leaves any more: it ends with `content_filter`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from safety.compiled import Guard, Transducer
from safety.guarded import Guarded
from safety.refusals import sentence
from safety.spec import Action, Direction, Verdict

FILTERED = "content_filter"
_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
# A string in JSON, the last one perhaps not to its end; and the half of an escape that it may end with.
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)', re.DOTALL)
_PARTIAL = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")
# Of one answer; what is found beyond is counted and not listed.
MOST_VERDICTS = 200
# Of a refused answer, characters that are kept for the person who reviews it.
MOST_KEPT = 200_000


class _Text:
    """Ordinary text."""

    def __init__(self, shield: Shield, choice: _Choice, part: str) -> None:
        self._shield, self._choice, self._part = shield, choice, part
        self._transducer: Transducer | None = None  # made with the first piece
        self._done = choice.guard is None

    @property
    def held(self) -> int:
        """Characters that wait."""
        return self._transducer.held if self._transducer is not None else 0

    def feed(self, piece: str) -> str:
        if self._transducer is None:
            if self._choice.guard is None:
                return piece
            self._transducer = self._choice.guard.stream(Direction.OUT)
        return self._took(self._transducer.feed(piece))

    def finish(self) -> str:
        if self._transducer is None or self._done:
            return ""
        self._done = True
        return self._took(self._transducer.finish())

    def whole(self, text: str) -> str:
        """All of it at once: sooner than as a stream of one piece."""
        self._done = True
        return (
            text if self._choice.guard is None else self._took(self._choice.guard.check(text, Direction.OUT))
        )

    def _took(self, checked: Any) -> str:
        if checked.verdicts:
            self._shield.note(self._choice, checked.verdicts, self._part)
        if checked.refused is not None:
            self._choice.refused = checked.refused
        return str(checked.text)


class _Arguments:
    """A call's arguments: JSON, in which a letter can be written in several ways.

    Up to the first backslash they are text like any other. From there on they wait until they are complete, and their
    strings are looked at as they will be read.
    """

    def __init__(self, shield: Shield, choice: _Choice, part: str) -> None:
        self._shield, self._choice, self._part = shield, choice, part
        self._text = _Text(shield, choice, part)
        self._raw = self._sent = ""
        self._escaped = False
        self._done = False

    @property
    def held(self) -> int:
        """Characters that wait; at least one while escapes do."""
        return max(self._text.held, int(self._escaped and not self._done))

    def feed(self, piece: str) -> str:
        if self._choice.guard is None:
            return piece
        self._raw += piece
        if self._escaped or "\\" in piece:
            self._escaped = True
            return ""
        leaves = self._text.feed(piece)
        self._sent += leaves
        return leaves

    def finish(self) -> str:
        if self._done:
            return ""
        self._done = True
        if not self._escaped:
            return self._text.finish()
        whole = _LITERAL.sub(self._literal, self._raw)
        if self._choice.refused is not None:
            return ""
        if whole.startswith(self._sent):
            return whole[len(self._sent) :]
        # What left already does not fit what may be said: nothing more leaves.
        self._choice.refused = self._choice.last
        return ""

    def whole(self, text: str) -> str:
        """All of it at once."""
        return self.feed(text) + self.finish()

    def _literal(self, match: re.Match[str]) -> str:
        """A string of the JSON as it may leave: as it was written, where nothing of it changes."""
        written = match[0]
        if self._choice.refused is not None:
            return written
        ends = written.endswith('"') and len(written) > 1
        try:
            value = msgspec.json.decode(written if ends else _PARTIAL.sub("", written) + '"')
        except msgspec.DecodeError:  # no JSON: looked at as it stands
            value = written
        made = _Text(self._shield, self._choice, self._part).whole(value)
        if made == value:
            return written
        return _encode(made).decode() if ends else _encode(made).decode()[:-1]


class _Choice:
    """One choice of an answer."""

    __slots__ = (
        "_shield", "edited", "ended", "guard", "index", "kept", "last", "logprobs", "refused", "said", "texts",
    )  # fmt: skip

    def __init__(self, shield: Shield, index: int) -> None:
        self._shield = shield
        self.guard = shield.guard
        self.index = index
        self.texts: dict[str, _Text | _Arguments] = {}
        self.refused: Verdict | None = None
        self.last: Verdict | None = None  # the verdict that changed the text last
        self.edited = False
        self.ended = False
        self.said = False  # whether any content has left
        self.logprobs: list[dict[str, Any]] = []  # of text that waits
        self.kept: list[str] = []  # of the text as the model wrote it, where somebody may have to review it

    def text(self, name: str) -> _Text | _Arguments:
        """The way out of one of its texts."""
        found = self.texts.get(name)
        if found is None:
            kind = _Arguments if name.startswith("arguments.") else _Text
            found = self.texts[name] = kind(self._shield, self, f"choices[{self.index}].{name}")
        return found


class Shield:
    """One answer on its way to its tenant. `refused` once every choice is."""

    def __init__(
        self,
        guarded: Guarded,
        guard: Guard | None,
        *,
        choices: int = 1,
        disclaimer: tuple[str, str] = ("", ""),
        on_verdicts: Callable[[tuple[Verdict, ...]], None] = lambda verdicts: None,
    ) -> None:
        self.guarded = guarded
        self.guard = guard
        self.hears: Callable[[str], None] | None = None
        self.finish_reason = ""
        self.verdicts: list[Verdict] = []
        self._count = choices
        self._at_once = False
        self._before, self._after = disclaimer
        self.on_verdicts = on_verdicts
        self._choices: dict[int, _Choice] = {}

    @property
    def refused(self) -> bool:
        """Whether nothing of the answer can leave any more."""
        ended = [choice for choice in self._choices.values() if choice.refused is not None and choice.ended]
        return len(ended) >= self._count

    @property
    def review(self) -> tuple[str, Verdict] | None:
        """The text, so far, and the verdict of a choice that waits for a person; None where none does."""
        for choice in self._choices.values():
            if choice.refused is not None and choice.refused.action is Action.REVIEW:
                return "".join(choice.kept)[:MOST_KEPT], choice.refused
        return None

    def note(self, choice: _Choice, verdicts: tuple[Verdict, ...], part: str) -> None:
        """Verdicts of one of a choice's texts."""
        if any(verdict.action is not Action.FLAG for verdict in verdicts):
            choice.edited = True
            choice.last = verdicts[-1]
        told = tuple(msgspec.structs.replace(verdict, part=part) for verdict in verdicts)
        if len(self.verdicts) < MOST_VERDICTS:
            self.verdicts.extend(told)
        self.on_verdicts(told)

    # --- Streams

    def chunk(self, payload: bytes) -> bytes | None:
        """What leaves of a chunk, None when nothing does. Raises CheckerFailed."""
        chunk = _decode(payload)
        given = chunk.get("choices")
        if not given:
            return payload
        leaving, changed = [], False
        for one in given:
            choice = self._choice(one.get("index", 0))
            if choice.ended:
                changed = True
                continue
            altered, leaves = self._part(one, choice)
            changed = changed or altered
            if leaves:
                leaving.append(one)
        if not leaving:
            return None
        if not changed:
            return payload
        chunk["choices"] = leaving
        return _encode(chunk)

    def _part(self, one: dict[str, Any], choice: _Choice) -> tuple[bool, bool]:
        """Pass one choice's part of a chunk; (whether it changed, whether anything of it leaves)."""
        delta = one.get("delta")
        texts = delta if isinstance(delta, dict) else one
        names = _TEXTS if texts is delta else ("text",)
        finish = one.get("finish_reason")
        before = _said(texts, names)
        self._pass(texts, names, choice, ends=bool(finish))
        altered = before != _said(texts, names)
        if choice.refused is not None:
            self._end_refused(one, texts, choice)
            return True, True
        if finish:
            choice.ended = True
            self.finish_reason = finish
            altered = self._say_after(texts, names, choice, finish) or altered
        altered = self._hold_logprobs(one, choice) or altered
        if self.hears is not None:
            self._tell(texts, names)
        return altered, bool(finish) or _has_anything(one, texts, names) or not altered

    def _pass(self, texts: dict[str, Any], names: tuple[str, ...], choice: _Choice, *, ends: bool) -> None:
        for name in names:
            piece = texts.get(name)
            if isinstance(piece, str) and piece and choice.refused is None:
                if name in ("content", "text"):
                    choice.kept.append(piece)
                way = choice.text(name)
                passed = way.whole(piece) if self._at_once else way.feed(piece)
                texts[name] = self._before_first(name, passed, choice)
        for call in texts.get("tool_calls") or ():
            function = call.get("function") or {}
            for name in ("name", "arguments"):
                piece = function.get(name)
                if isinstance(piece, str) and piece and choice.refused is None:
                    place = f"{name}.{call.get('index', 0)}"
                    if name == "name":  # complete when it comes
                        function[name] = _Text(self, choice, f"choices[{choice.index}].{place}").whole(piece)
                    else:
                        way = choice.text(place)
                        function[name] = way.whole(piece) if self._at_once else way.feed(piece)
        if ends or choice.refused is not None:
            self._finish(texts, choice)

    def _finish(self, texts: dict[str, Any], choice: _Choice) -> None:
        """The text has ended: what waited leaves at last."""
        for name, text in choice.texts.items():
            if choice.refused is not None:
                return
            rest = text.finish()
            if not rest:
                continue
            kind, _, place = name.partition(".")
            if kind == "arguments":
                _append_arguments(texts, int(place), rest)
            else:
                texts[name] = (texts.get(name) or "") + self._before_first(name, rest, choice)

    def _before_first(self, name: str, text: str, choice: _Choice) -> str:
        if not text or name not in ("content", "text"):
            return text
        if not choice.said:
            choice.said = True
            return self._before + text
        return text

    def _say_after(self, texts: dict[str, Any], names: tuple[str, ...], choice: _Choice, finish: str) -> bool:
        if not self._after or not choice.said or finish not in ("stop", "length"):
            return False
        name = "text" if "text" in names else "content"
        texts[name] = (texts.get(name) or "") + self._after
        return True

    def _end_refused(self, one: dict[str, Any], texts: dict[str, Any], choice: _Choice) -> None:
        """The last that leaves of a refused choice: what was clean before the match, and why there is no more."""
        choice.ended = True
        one["finish_reason"] = self.finish_reason = FILTERED
        if "logprobs" in one:
            one["logprobs"] = None
        one.pop("stop_reason", None)
        if choice.refused is not None and texts is not one:
            texts["refusal"] = sentence(self.guarded, choice.refused)
            texts.pop("tool_calls", None)
        if self.hears is not None:
            self._tell(texts, _TEXTS if texts is not one else ("text",))

    def _hold_logprobs(self, one: dict[str, Any], choice: _Choice) -> bool:
        """Logprobs spell the text once more: they wait with it, and go where it did not leave as it was written."""
        given = one.get("logprobs")
        if self.guard is None or not (given or choice.logprobs):
            return False
        if choice.edited:
            choice.logprobs.clear()
            one["logprobs"] = None
        elif any(text.held for text in choice.texts.values()):
            if not given:
                return False
            choice.logprobs.append(given)
            one["logprobs"] = None
        elif choice.logprobs:
            one["logprobs"] = _joined([*choice.logprobs, *([given] if given else [])])
            choice.logprobs.clear()
        else:
            return False
        return True

    def _tell(self, texts: dict[str, Any], names: tuple[str, ...]) -> None:
        if self.hears is None:
            return
        for name in ("content", "text"):
            if name in names and texts.get(name):
                self.hears(texts[name])
        for call in texts.get("tool_calls") or ():
            function = call.get("function") or {}
            if function.get("name"):
                self.hears(f"[{function['name']}] ")
            if function.get("arguments"):
                self.hears(function["arguments"])

    def _choice(self, index: int) -> _Choice:
        found = self._choices.get(index)
        if found is None:
            found = self._choices[index] = _Choice(self, index)
        return found

    # --- Whole answers

    def whole(self, payload: bytes) -> bytes:
        """What leaves of an answer that comes in one piece. Raises CheckerFailed. Costs as much as the text is long."""
        answer = _decode(payload)
        self._at_once, changed = True, False
        for one in answer.get("choices") or ():
            choice = self._choice(one.get("index", 0))
            message = one.get("message")
            texts = message if isinstance(message, dict) else one
            names = _TEXTS if texts is message else ("text",)
            before = _encode(texts)
            said = texts.get("text" if texts is one else "content")
            if isinstance(said, str) and self.guarded.is_approved(said, Direction.OUT):
                choice.guard = self.guarded.lenient()
            for place, call in enumerate(texts.get("tool_calls") or ()):
                call["index"] = place
            self._pass(texts, names, choice, ends=True)
            for call in texts.get("tool_calls") or ():
                call.pop("index", None)
            if choice.refused is not None:
                self._end_refused(one, texts, choice)
                changed = True
                continue
            choice.ended = True
            self._say_after(texts, names, choice, str(one.get("finish_reason")))
            if choice.edited and one.get("logprobs"):
                one["logprobs"] = None
                changed = True
            changed = changed or before != _encode(texts)
        return _encode(answer) if changed else payload


def _said(texts: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    """What a part of a chunk says, to see whether it changes."""
    said: list[Any] = [texts.get(name) or "" for name in names]
    for call in texts.get("tool_calls") or ():
        function = call.get("function") or {}
        said.append((call.get("index"), function.get("name"), function.get("arguments")))
    return said


def _has_anything(one: dict[str, Any], texts: dict[str, Any], names: tuple[str, ...]) -> bool:
    """Whether a client learns anything from this part."""
    if any(texts.get(name) for name in names) or texts.get("role") is not None or one.get("logprobs"):
        return True
    for call in texts.get("tool_calls") or ():
        function = call.get("function") or {}
        if call.get("id") or function.get("name") or function.get("arguments"):
            return True
    return False


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Logprobs of several chunks as those of one."""
    found: dict[str, Any] = {}
    for part in parts:
        for name, entries in part.items():
            before = found.get(name)
            found[name] = (
                [*before, *entries] if isinstance(before, list) and isinstance(entries, list) else entries
            )
    return found


def _append_arguments(texts: dict[str, Any], place: int, rest: str) -> None:
    calls = texts.setdefault("tool_calls", [])
    if calls is None:
        calls = texts["tool_calls"] = []
    for call in calls:
        if call.get("index") == place:
            function = call.setdefault("function", {})
            function["arguments"] = (function.get("arguments") or "") + rest
            return
    calls.append({"index": place, "function": {"arguments": rest}})
