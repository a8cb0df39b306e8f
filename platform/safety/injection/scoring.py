"""How much a text looks like an injection: signals of every view put together into a score from 0 to 100."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import re2

from safety.injection import (
    signals,
    signals_chinese,
    signals_chinese_combined,
    signals_combined,
    signals_form,
    views,
)
from safety.injection.views import View

SIGNALS: Final = (
    *signals.SIGNALS,
    *signals_combined.SIGNALS,
    *signals_form.SIGNALS,
    *signals_chinese.SIGNALS,
    *signals_chinese_combined.SIGNALS,
)
# What of the second and later signals of one category counts.
AGREEMENT: Final = 0.4
# A decoded or undone disguise speaks against a text by itself.
HIDDEN_BONUS: Final = 22
# Decoding stops when this many times the length of the text was decoded.
BUDGET_FACTOR: Final = 4
BUDGET_LEAST: Final = 20_000
# How often what was made milder is blanked out; after that nothing is milder any more.
BLANKED: Final = 3


class Sign(NamedTuple):
    """One signal that was found: its name, category, weight, place in the original text, and the disguise."""

    name: str
    category: str
    weight: int
    start: int
    end: int
    disguise: str = ""


class Finding(NamedTuple):
    """What the detectors say of a text. `category`, `start` and `end` are of the strongest sign."""

    score: int
    category: str
    start: int
    end: int
    findings: tuple[Sign, ...]


CLEAN: Final = Finding(0, "", 0, 0, ())


def score(text: str, *, untrusted: bool = False) -> Finding:
    """Score `text`, 0 (nothing) to 100 (an attack); from 60 on it is safe to refuse what a person typed.

    `untrusted` is for what nobody typed, such as knowledge and tool results: orders to the reader weigh more there.
    The whole text is looked at, whatever its length, in every view of `views`; encodings are undone three deep, and
    no more than four times the text's length is decoded. Linear in the length: 1 MB of prose takes about a second.
    """
    if not text:
        return CLEAN
    budget = _Budget(max(BUDGET_LEAST, BUDGET_FACTOR * len(text)))
    signs = _typed(text, budget) if not untrusted else list(_signs(text, True, budget))
    many = _many_shot(text, untrusted)
    if many is not None:
        signs.append(many)
    if not signs:
        return CLEAN
    return _together(signs)


def _typed(text: str, budget: _Budget) -> list[Sign]:
    """Signs in what a person typed, those in quotes and questions milder. What was made milder is blanked out and the
    rest looked at again, so that no quoted sign hides one that is meant."""
    kept: list[Sign] = []
    for last in range(BLANKED, -1, -1):
        signs = list(_signs(text, False, budget))
        milder = _milder_in_quotes(text, _milder_as_questions(text, signs)) if last else signs
        kept.extend(milder)
        spans = [one[3:5] for one, other in zip(signs, milder, strict=True) if one.weight != other.weight]
        if not spans:
            break
        for start, end in spans:
            text = text[:start] + "." * (end - start) + text[end:]
    return kept


class _Budget:
    """How many characters may still be decoded."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, number: int) -> bool:
        self.left -= number
        return self.left >= 0


def _signs(text: str, untrusted: bool, budget: _Budget, depth: int = 0) -> Iterator[Sign]:
    base = views.plain(text)
    yield from _match(base, untrusted)
    for view in views.disguised(base):
        yield from _match(view, untrusted)
    if depth >= views.MAX_DEPTH:
        return
    for content, start, end, name in views.decoded(text):
        if not budget.take(len(content)):
            return
        for sign in _signs(content, untrusted, budget, depth + 1):
            yield Sign(sign.name, sign.category, sign.weight, start, end, name)


def _match(view: View, untrusted: bool) -> Iterator[Sign]:
    """The first match of every signal in one view."""
    data = view.text.encode("utf-8", "replace")
    wide = len(data) != len(view.text)
    for place in _screen().Match(data) or ():
        signal = SIGNALS[place]
        weight = signal.untrusted if untrusted else signal.weight
        found = _programs()[place].search(data)
        if found is None or (view.disguise and weight < 30):
            continue
        start, end = found.span()
        if wide:
            start, end = len(data[:start].decode(errors="replace")), len(data[:end].decode(errors="replace"))
        yield Sign(signal.name, signal.category, weight, *view.original(start, end), view.disguise)


def _options() -> Any:
    options = re2.Options()
    options.max_mem = 256 << 20
    options.dot_nl = True
    options.log_errors = False
    return options


@lru_cache(maxsize=1)
def _programs() -> tuple[Any, ...]:
    return tuple(re2.compile(signal.pattern, _options()) for signal in SIGNALS)


@lru_cache(maxsize=1)
def _screen() -> Any:
    """All signals at once: which of them occur in a text at all."""
    screen = re2.Set.SearchSet(_options())
    for signal in SIGNALS:
        screen.Add(signal.pattern)
    screen.Compile()
    return screen


_TURN: Final = re.compile(
    r"(?:^|\n)[ \t>*\-]{0,4}(?:\*\*|\[|<\|?)?(?:(?P<asked>user|human|用户|人类|提问者)"
    r"|(?P<said>assistant|ai|chatbot|bot|gpt|助手|机器人|模型))"
    r"(?: ?\d{1,4})?(?:\*\*|\]|\|?>)? ?[:：]",
    re.IGNORECASE,
)
_FEW_TURNS: Final = 8


def _many_shot(text: str, untrusted: bool) -> Sign | None:
    """A long run of made-up turns, by which a model is to learn to comply (Anil et al. 2024)."""
    asked, said, first, last = 0, 0, 0, 0
    for match in _TURN.finditer(text):
        if not asked and not said:
            first = match.start()
        asked += match["asked"] is not None
        said += match["said"] is not None
        last = match.end()
    turns = min(asked, said)
    if turns < (3 if untrusted else _FEW_TURNS):
        return None
    weight = min(95, 38 + int(16 * math.log2(turns / 4))) if turns >= 4 else 45
    return Sign("made-up turns", "many-shot", min(97, weight + 15 if untrusted else weight), first, last)


_QUOTED: Final = re.compile(
    r"\"[^\"\n]{4,600}\"|“[^”\n]{4,600}”|「[^」\n]{4,600}」|『[^』\n]{4,600}』|(?<![\w'])'[^'\n]{4,600"
    r"}'(?!\w)|‘[^’\n]{4,600}’|`[^`\n]{4,600}`|```.{4,4000}?```|《[^》\n]{4,200}》",
    re.DOTALL,
)
_ABOUT: Final = re.compile(
    r"\b(?:what (?:is|are|does|do|happens|makes)|explain|why|how (?:do|does|can|would"
    r"|should|to)|examples?|difference|detect\w*|prevent\w*|defen[cds]\w*"
    r"|mitigat\w*|protect\w*|research\w*|paper|lecture|course|article|blog|classif\w*"
    r"|dataset|attack\w*|injections?|owasp|security|teach\w*|student\w*"
    r"|unit test|regex|filter for|phrase|sentence|translate|grammar|meaning|quiz|workshop"
    r"|slide|policy|train\w*|label\w*|review)\b"
    r"|什么是|是什么意思|解释|为什么|如何|怎么|怎样|防御|防范|检测|识别|示例|例子"
    r"|例如|课程|论文|翻译|分类|漏洞|安全|攻击|注入|标注|讲解|原理|测试用例|数据集"
    r"|这句话|含义|正则",
    re.IGNORECASE,
)
QUOTED: Final = 0.45


def _milder_in_quotes(text: str, signs: list[Sign]) -> list[Sign]:
    """A quoted attack in a text about attacks weighs less, as long as it stands in quotes whole and undisguised."""
    if len(text) > 20_000 or _ABOUT.search(text) is None:
        return signs
    quotes = [match.span() for match in _QUOTED.finditer(text)]
    outside = text
    for start, end in reversed(quotes):
        outside = outside[:start] + outside[end:]
    if not quotes or _ABOUT.search(outside) is None:
        return signs
    return [
        sign._replace(weight=int(sign.weight * QUOTED))
        if not sign.disguise and any(start <= sign.start and sign.end <= end for start, end in quotes)
        else sign
        for sign in signs
    ]


_ASKED: Final = re.compile(
    r"\b(?:how (?:do|can|would|could|to|does|should|did)|what (?:does|is|are|if|happens"
    r"|would)|why|where|when|which|is it|are there"
    r"|can (?:i|you explain)|should (?:i|we|you)|explain|who|tips|difference)\b|怎么"
    r"|如何|怎样|什么|为什么|为何|哪|能不能|可以吗|是不是",
    re.IGNORECASE,
)
_ASKED_AFTER: Final = re.compile(
    r"^[^.!;\n]{0,24}\b(?:what (?:should|can|do|could) (?:i|we)|how (?:do|can|should) "
    r"(?:i|we))\b|^[^.!。！;；\n]{0,12}(?:怎么|如何|怎样|什么|吗|有哪|哪|是什么|怎么办)",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"[.!?。！？\n:：]")
ASKED: Final = 0.6
ASKABLE: Final = frozenset({"override", "persona"})


def _milder_as_questions(text: str, signs: list[Sign]) -> list[Sign]:
    """A question how something is done or what it is ("how do I enable debug mode?") gives no order."""
    return [
        sign._replace(weight=int(sign.weight * ASKED)) if sign.weight < 75 and _is_asked(text, sign) else sign
        for sign in signs
    ]


def _is_asked(text: str, sign: Sign) -> bool:
    if sign.disguise or sign.category not in ASKABLE:
        return False
    before = _SENTENCE.split(text[max(0, sign.start - 80) : sign.start + 3])[-1]
    return (
        _ASKED.search(before) is not None or _ASKED_AFTER.search(text[sign.end : sign.end + 30]) is not None
    )


def _together(signs: Sequence[Sign]) -> Finding:
    """Noisy-or: the strongest sign of each category in full, those that agree with it in part."""
    ordered = sorted(signs, key=lambda sign: -sign.weight)
    left = 1.0
    seen: set[str] = set()
    names: set[str] = set()
    for sign in ordered:
        if sign.name in names:
            continue
        names.add(sign.name)
        share = 1.0 if sign.category not in seen else AGREEMENT
        seen.add(sign.category)
        left *= 1 - share * sign.weight / 100
    if any(sign.disguise and sign.weight >= 40 for sign in signs):
        left *= 1 - HIDDEN_BONUS / 100
    top = ordered[0]
    return Finding(min(100, round(100 * (1 - left))), top.category, top.start, top.end, tuple(ordered[:32]))
