"""Made-up values with right check digits: cards, resident ids, IBANs, keys. Nobody's."""

from __future__ import annotations

import random
import string

from safety.pii.checks import IBAN_LENGTHS

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_REGIONS = [
    "110101",
    "310115",
    "440305",
    "510107",
    "330106",
    "420111",
    "610113",
    "150102",
    "650104",
    "540102",
    "350203",
    "460105",
    "820000",
]
# (first digits, length) of card networks.
NETWORKS = (
    *(
        ("4", 16),
        ("4", 19),
        ("51", 16),
        ("55", 16),
        ("2223", 16),
        ("34", 15),
        ("37", 15),
        ("6011", 16),
        ("65", 16),
    ),
    *(("3528", 16), ("36", 14), ("62", 16), ("62", 17), ("62", 19), ("6759", 16)),
)


def digits(chance: random.Random, number: int) -> str:
    """That many random digits."""
    return "".join(chance.choices(string.digits, k=number))


def card(chance: random.Random, prefix: str = "4", length: int = 16) -> str:
    """A card number whose last digit is Luhn's."""
    body = prefix + digits(chance, length - len(prefix) - 1)
    total = 0
    for index, digit in enumerate(reversed(body)):
        value = int(digit) * (1 if index % 2 else 2)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def resident_id(chance: random.Random, last: str | None = None) -> str:
    """A resident id of the PRC; with the check character `last` where that is asked for."""
    while True:
        born = f"{chance.randint(1940, 2019)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
        body = chance.choice(_REGIONS) + born + digits(chance, 3)
        check = "10X98765432"[sum(w * int(d) for w, d in zip(_WEIGHTS, body, strict=True)) % 11]
        if last is None or check == last:
            return body + check


def iban(chance: random.Random, country: str = "DE") -> str:
    """An IBAN of the right length whose check digits fit mod 97."""
    length = IBAN_LENGTHS[country] - 4
    letters = 4 if country in ("GB", "NL", "IE", "BG", "RO", "MT") else 0
    bban = "".join(chance.choices(string.ascii_uppercase, k=letters)) + digits(chance, length - letters)
    turned = "".join(str(int(letter, 36)) for letter in bban + country + "00")
    return f"{country}{98 - int(turned) % 97:02}{bban}"


def in_groups(text: str, sizes: tuple[int, ...], separator: str = " ") -> str:
    """`text` cut into groups of `sizes`, the last size again until the end."""
    groups, place, index = [], 0, 0
    while place < len(text):
        size = sizes[min(index, len(sizes) - 1)]
        groups.append(text[place : place + size])
        place += size
        index += 1
    return separator.join(groups)


def full_width(text: str) -> str:
    """Digits and Latin letters as full-width ones."""
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)
