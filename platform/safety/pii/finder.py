"""All recognisers over a whole text, and who wins where they overlap."""

from __future__ import annotations

import bisect
import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, Final

import re2

from safety.pii import keys, network, numbers, phones
from safety.pii.folding import fold, strip_ignorable
from safety.pii.recogniser import WINDOW, Match, Recogniser

# Where two overlap, the one that comes first here wins: what has a check digit or a form of its own goes before
# what is told by its length, and a key contains everything else.
_ORDER: Final = (
    *("PRIVATE_KEY", "API_KEY", "EMAIL_ADDRESS", "IBAN_CODE", "CN_RESIDENT_ID", "CREDIT_CARD"),
    *("CN_PHONE_NUMBER", "IP_ADDRESS", "PHONE_NUMBER"),
)
_ALL: Final = {one.entity: one for module in (keys, network, numbers, phones) for one in module.RECOGNISERS}
RECOGNISERS: Final[dict[str, Recogniser]] = {entity: _ALL[entity] for entity in _ORDER}

# For whole texts, one byte stands for one code point: Latin-1, with the few other letters that patterns contain put
# into places that are of no use to them. Everything else is `?`, which is no letter either.
_OTHERS: Final = "".join(
    sorted({letter for one in RECOGNISERS.values() for letter in one.pattern if ord(letter) > 0xFF})
)
_STAND_INS: Final = {code: "?" for code in range(0x80, 0xC0)} | {
    ord(letter): chr(0x80 + place) for place, letter in enumerate(_OTHERS)
}
# What a text must contain for a recogniser to be asked at all.
_DIGIT: Final = re.compile(r"[0-9]")
_SCREENS: Final = {entity: _DIGIT for entity in _ORDER} | {
    "PRIVATE_KEY": re.compile("PRIVATE KEY"),
    "API_KEY": re.compile(r"[A-Za-z0-9_\-+/.~]{15}"),
    "EMAIL_ADDRESS": re.compile(r"[@#]|[Aa][Tt]|艾特|爱特"),
    "CN_PHONE_NUMBER": re.compile(r"[0-9]|[一幺][三四五六七八九]"),
}
# Their `spans` try every start in a candidate: after a false alarm, a third of it need not be tried again.
_EVERY_START: Final = frozenset({"CREDIT_CARD", "PHONE_NUMBER"})
_LEADING: Final = re.compile(r"[0-9A-Za-z]+|.", re.DOTALL)


def find(text: str, entities: Collection[str] | None = None) -> list[Match]:
    """Personal data in `text`, in order and without overlap; of the kinds `entities`, all when None.

    Invisible characters inside are looked through, full-width and other digits count as digits. Linear in the length
    of the text: about 0.1 s for a million characters of prose.
    """
    stripped, places = strip_ignorable(text)
    plain = fold(stripped)
    data = plain.translate(_STAND_INS).encode("latin-1", "replace")
    taken: list[Match] = []
    for entity in _ORDER:
        if (entities is None or entity in entities) and _SCREENS[entity].search(plain):
            taken.extend(_matches(RECOGNISERS[entity], plain, data))
    kept = _without_overlap(taken)
    if places is None:
        return kept
    return [Match(entity, places[start], places[end - 1] + 1) for entity, start, end in kept]


def redact(text: str, kept: Collection[str] = frozenset()) -> str:
    """`text` with personal data and credentials masked as [LABEL], except of the kinds that `kept` names.

    Kinds are named by entity (EMAIL_ADDRESS) or by label (EMAIL, which may stand for several). Costs what `find` does.
    """
    entities = [name for name, one in RECOGNISERS.items() if name not in kept and one.label not in kept]
    parts: list[str] = []
    place = 0
    for entity, start, end in find(text, entities):
        parts += (text[place:start], f"[{RECOGNISERS[entity].label}]")
        place = end
    return "".join((*parts, text[place:]))


def _matches(one: Recogniser, plain: str, data: bytes) -> Iterator[Match]:
    program = _program(one.entity)
    place = 0
    while True:
        found = program.search(data, place)
        if found is None:
            return
        start, end = found.span()
        candidate = plain[start:end]
        spans = one.spans(candidate, plain[max(0, start - WINDOW) : start])
        for first, last in spans:
            yield Match(one.entity, start + first, start + last)
        if spans:
            place = start + spans[-1][1]
        else:
            leading = _LEADING.match(candidate)
            least = len(candidate) // 3 if one.entity in _EVERY_START else 0
            place = start + max(leading.end() if leading else 1, least)


@cache
def _program(entity: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    options.max_mem = 64 << 20
    options.log_errors = False
    pattern = RECOGNISERS[entity].pattern
    table = {ord(letter): chr(0x80 + place) for place, letter in enumerate(_OTHERS)}
    return re2.compile(pattern.translate(table).encode("latin-1"), options)


def _without_overlap(found: list[Match]) -> list[Match]:
    """The first of `found` by rank at each place, in the order of the text."""
    rank = {entity: place for place, entity in enumerate(_ORDER)}
    starts: list[int] = []
    kept: list[Match] = []
    for match in sorted(found, key=lambda match: (rank[match.entity], match.start)):
        place = bisect.bisect_left(starts, match.start)
        before = kept[place - 1].end if place else 0
        after = kept[place].start if place < len(kept) else match.end
        if before <= match.start and match.end <= after:
            starts.insert(place, match.start)
            kept.insert(place, match)
    return kept
