"""Random values for made-up conversations: names, numbers, codes, dates, and words that no one has seen."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

VALUES: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parent / "data" / "values.json").read_text(encoding="utf-8")
)
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"
LANGUAGES = {"en": ("French", "German", "Chinese", "Spanish"), "zh": ("法语", "德语", "英语", "西班牙语")}


def pseudo_word(rng: random.Random) -> str:
    """A word of two to four syllables that exists in no language, such as ``tavomi``."""
    word = "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(2, 3)))
    return word + (rng.choice(_CONSONANTS) if rng.random() < 0.4 else "")


def han_word(rng: random.Random) -> str:
    """Two to four random common Chinese characters (the first level of GB 2312)."""
    codes = (bytes((rng.randint(0xB0, 0xD6), rng.randint(0xA1, 0xFE))) for _ in range(rng.randint(2, 4)))
    return b"".join(codes).decode("gb2312")


def _pattern(pattern: str, rng: random.Random) -> str:
    """The pattern with ``#`` replaced by digits and ``@`` by capital letters."""
    swap = {"#": "0123456789", "@": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    return "".join(rng.choice(swap[c]) if c in swap else c for c in pattern)


def integer(rng: random.Random) -> int:
    """A whole number of one to four digits, the short ones as likely as the long ones."""
    return rng.randrange(10 ** rng.randint(1, 4))


def _email(rng: random.Random) -> str:
    """An e-mail address with a known or an invented name."""
    name = rng.choice(VALUES["person"]["en"]).lower() if rng.random() < 0.6 else pseudo_word(rng)
    return f"{name}@{rng.choice(VALUES['domain'])}"


#: Kinds that do not depend on the language.
MAKERS: dict[str, Callable[[random.Random], Any]] = {
    "int": integer,
    "digit": lambda rng: rng.randrange(10),
    "float": lambda rng: round(rng.uniform(0, 500), rng.choice((1, 2))),
    "word": pseudo_word,
    "code": lambda rng: _pattern(rng.choice(("@@-####", "@##", "#####", "@@@-##", "T-####")), rng),
    "ticker": lambda rng: _pattern(rng.choice(("@@@", "@@@@", "@@")), rng),
    "clock": lambda rng: f"{rng.randrange(24):02d}:{rng.choice((0, 5, 15, 30, 45)):02d}",
    "date": lambda rng: f"20{rng.randint(24, 29)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
    "email": _email,
    "models": lambda rng: rng.sample(VALUES["model"], rng.randint(1, 3)),
}


def make(kind: str, language: str, rng: random.Random) -> Any:
    """A random value of a kind named in ``data/tools.json``, in the language's writing."""
    if kind in MAKERS:
        return MAKERS[kind](rng)
    if kind == "language":
        return rng.choice(LANGUAGES[language])
    choices = VALUES[kind]
    if isinstance(choices, list):
        return rng.choice(choices)
    if rng.random() < 0.2:
        return pseudo_word(rng).capitalize() if language == "en" else han_word(rng)
    return rng.choice(choices[language])


def schema_type(kind: str) -> dict[str, Any]:
    """The JSON schema of a value kind."""
    if kind in ("int", "digit"):
        return {"type": "integer"}
    if kind == "float":
        return {"type": "number"}
    if kind in ("unit", "level"):
        return {"type": "string", "enum": VALUES[kind]}
    return {"type": "string"}
