"""Numbers with a check digit: resident ids of the PRC, payment cards, IBANs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from safety.pii import checks
from safety.pii.recogniser import Recogniser, Span, any_of, glued, recogniser, words

_GROUP: Final = re.compile(r"[0-9]+")
_ALNUM: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")

ID_WORDS: Final = words(
    "身份证|居民身份|身份号|证件号|公民身份|id card|resident id|identity card|id number|id no|national id"
)
CARD_WORDS: Final = words(
    "card|visa|mastercard|amex|pan|debit|credit|银行卡|信用卡|借记卡|储蓄卡|卡号|账号|尾号"
)
IBAN_WORDS: Final = words("iban|account|bank|账户|账号|银行|收款")
_ID_CONTEXT: Final = re.compile(any_of(ID_WORDS))
_SHELF_CONTEXT: Final = re.compile(
    any_of(words("ean|upc|gtin|isbn|barcode|bar code|条码|条形码|商品码|imei"))
)


def follows(candidate: str, end: int) -> bool:
    """Whether the code goes on right after `end`, as far as the candidate shows."""
    rest = candidate[end : end + 2]
    return bool(rest) and (rest[0] in _ALNUM or (len(rest) == 2 and rest[0] in "-/." and rest[1] in _ALNUM))


def _runs(candidate: str, least: int, most: int) -> Iterator[tuple[int, int, str, list[int]]]:
    """Every row of whole groups of digits with `least` to `most` digits, the longest first from each start.

    Gives start, end, digits, and the groups' lengths.
    """
    groups = [match.span() for match in _GROUP.finditer(candidate)]
    for first in range(len(groups)):
        for last in range(len(groups), first, -1):
            row = groups[first:last]
            digits = "".join(candidate[start:end] for start, end in row)
            if least <= len(digits) <= most:
                yield row[0][0], row[-1][1], digits, [end - start for start, end in row]


def _card_shape(sizes: list[int]) -> bool:
    """Whether people group cards so. Cards of 14 and 15 digits are not written in fours."""
    if set(sizes) in ({1}, {2}):
        return True
    if sizes[:3] == [4, 4, 4] and len(sizes) == 4 and sizes[3] < 4:
        return False
    return all(size >= 3 for size in sizes[:-1])


def card_spans(candidate: str, before: str) -> list[Span]:
    """Payment cards: Luhn, a length that the network issues, groups as people write them."""
    found: list[Span] = []
    for start, end, digits, sizes in _runs(candidate, 13, 19):
        if found and start < found[-1][1]:
            continue
        if not (_card_shape(sizes) and checks.card_length_fits(digits) and checks.luhn(digits)):
            continue
        ahead = before + candidate[:start]
        if glued(ahead, ("card", "no", "pan", "visa")) or follows(candidate, end):
            continue
        if len(digits) == 13 and _SHELF_CONTEXT.search(ahead.lower()):
            continue
        if checks.resident_id_form(digits) or len(set(digits)) == 1:
            continue
        found.append((start, end))
    return found


def resident_id_spans(candidate: str, before: str) -> list[Span]:
    """Resident ids: province, date and check digit; 15 digits of before 1999 only after a word that says so."""
    if glued(before, ("id", "no", "card")):
        return []
    match = re.match(r"[0-9](?:[ -]?[0-9]){16}[ -]?[0-9Xx]", candidate)
    if match and not follows(candidate, match.end()) and checks.resident_id(re.sub("[ -]", "", match[0])):
        return [match.span()]
    old = re.match(r"[0-9]{15}(?![0-9Xx])", candidate)
    if old is None or follows(candidate, 15) or not checks.old_resident_id(old[0]):
        return []
    return [old.span()] if _ID_CONTEXT.search(before[-24:].lower()) else []


def iban_spans(candidate: str, before: str) -> list[Span]:
    """IBANs: the country's length, mod 97; written together or in groups, in any case."""
    length = checks.IBAN_LENGTHS.get(candidate[:2].upper())
    if length is None or (before and before[-1] in _ALNUM):
        return []
    letters: list[str] = []
    for place, letter in enumerate(candidate):
        if letter in " -.":
            continue
        letters.append(letter)
        if len(letters) == length:
            end = place + 1
            rest = candidate[end : end + 1]
            ok = not (rest and rest in _ALNUM) and checks.iban("".join(letters))
            return [(0, end)] if ok else []
    return []


RECOGNISERS: Final[tuple[Recogniser, ...]] = (
    recogniser(
        "CN_RESIDENT_ID",
        "CN_ID",
        r"[1-9](?:[ \-]?[0-9]){14}(?:(?:[ \-]?[0-9]){2}[ \-]?[0-9Xx])?(?:[\-/.]?[0-9A-Za-z_])?",
        37,
        resident_id_spans,
        ID_WORDS,
    ),
    recogniser(
        "CREDIT_CARD",
        "CARD",
        r"[2-9](?:[ .\-]{0,2}[0-9]){12,18}(?:[ .\-]?[0-9]){0,4}(?:[\-/.]?[0-9A-Za-z_])?",
        65,
        card_spans,
        CARD_WORDS,
    ),
    recogniser(
        "IBAN_CODE",
        "IBAN",
        r"[A-Za-z]{2}[ \-]?[0-9][ \-]?[0-9](?:[ \-.]?[0-9A-Za-z]){11,31}",
        68,
        iban_spans,
        IBAN_WORDS,
    ),
)
