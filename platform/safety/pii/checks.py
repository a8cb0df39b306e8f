"""Check digits and tables: pure functions over digits and letters, separators taken out before."""

from __future__ import annotations

import calendar
from typing import Final

from safety.pii.recogniser import words

_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK: Final = "10X98765432"
# The first two digits of a resident id: province, autonomous region, municipality, Hong Kong, Macao, Taiwan
# (GB/T 2260, and 83 for residence permits).
_PROVINCES: Final = frozenset(
    words(
        "11|12|13|14|15|21|22|23|31|32|33|34|35|36|37|41|42|43|44|45|46|50|51|52|53|54|61|62|63|64|65|71|81",
        "82|83|91",
    )
)
# Length of an IBAN by country (SWIFT's registry).
IBAN_LENGTHS: Final = {
    pair[:2]: int(pair[2:])
    for pair in words(
        "AD24|AE23|AL28|AT20|AZ28|BA20|BE16|BG22|BH22|BI27|BR29|BY28|CH21|CR22|CY28|CZ24|DE22|DJ27|DK18|DO28",
        "EE20|EG29|ES24|FI18|FK18|FO18|FR27|GB22|GE22|GI23|GL18|GR27|GT28|HN28|HR21|HU28|IE22|IL23|IQ23|IS26",
        "IT27|JO30|KW30|KZ20|LB28|LC32|LI21|LT20|LU20|LV21|LY25|MC27|MD24|ME22|MK19|MN20|MR27|MT31|MU30|NI28",
        "NL18|NO15|OM23|PK24|PL28|PS29|PT25|QA29|RO24|RS22|RU33|SA24|SC31|SD18|SE24|SI19|SK24|SM27|SO23|ST25",
        "SV28|TL23|TN24|TR26|UA29|VA22|VG24|XK20|YE30",
    )
}


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812)."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        total += _DOUBLED[value] if index % 2 else value
    return total % 10 == 0


def card_length_fits(digits: str) -> bool:
    """Whether a card network issues numbers that begin so and are so long."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return length in (13, 16, 19)
    if two in (34, 37):
        return length == 15
    if two in (30, 36, 38, 39):
        return length in (14, 16)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in (50, 56, 57, 58, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69):
        return 16 <= length <= 19
    if two == 35 or two in (81, 82) or 2200 <= four <= 2205:
        return length == 16
    return length == 19 and two in (90, 94, 95, 99)  # of Chinese banks, older than UnionPay's range


def resident_id(text: str) -> bool:
    """Whether 17 digits and a check digit or X are a resident id of the PRC (GB 11643-1999)."""
    if not resident_id_form(text):
        return False
    total = sum(weight * (ord(digit) - 48) for weight, digit in zip(_WEIGHTS, text, strict=False))
    return _CHECK[total % 11] == text[17].upper()


def resident_id_form(text: str) -> bool:
    """Whether the province and the date of birth are right, the check digit aside."""
    return len(text) == 18 and text[:2] in _PROVINCES and is_date(text[6:10], text[10:12], text[12:14])


def old_resident_id(digits: str) -> bool:
    """Whether 15 digits have the form of before 1999, which has no check digit."""
    return (
        len(digits) == 15
        and digits[:2] in _PROVINCES
        and is_date("19" + digits[6:8], digits[8:10], digits[10:12])
    )


def is_date(year: str, month: str, day: str) -> bool:
    """Whether the calendar has that day, in 1800 to 2099."""
    numbers = int(year), int(month), int(day)
    if not (1800 <= numbers[0] <= 2099 and 1 <= numbers[1] <= 12):
        return False
    return 1 <= numbers[2] <= calendar.monthrange(numbers[0], numbers[1])[1]


def iban(text: str) -> bool:
    """Whether country, length and the two check digits fit (ISO 13616, mod 97)."""
    text = text.upper()
    if IBAN_LENGTHS.get(text[:2]) != len(text) or not text[2:4].isdigit():
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1
