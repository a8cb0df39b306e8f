"""What the safety pipeline costs: load time and memory of 100,000 words, time per token, and what it holds back.

Run from the repository's root: `PYTHONPATH=platform:. python -m benchmarks.safety [--words 100000] [--tokens 20000]`.
Prints one JSON object. Times are processor time of one core, in microseconds per token of four code points, fed one
token at a time as a stream is; the best of three runs. Needs no server. Words are made up (60 % Chinese of 2 to 8
characters, 40 % Latin of 2 to 6 syllables); ordinary texts are made up from other words, so a few match by
chance.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safety.compiled import Compiled, Detectors, Guard, compile_rule_set
from safety.spec import Action, Direction, Kind, Rule, RuleSet

TOKEN = 4
ENGLISH = (
    "The committee met on Tuesday to discuss the budget for next year. Several members asked whether the new library "
    "could open before summer, and the answer was that builders need at least nine more weeks. Nobody objected. "
    "After lunch they visited the river path, where volunteers had planted three hundred young trees. "
)
CHINESE = (
    "委员会周二开会讨论明年的预算。几位成员询问新图书馆能否在夏天之前开放，答复是建筑工人至少还需要九个星期。"
    "没有人反对。午饭后他们参观了河边的小路，志愿者在那里种下了三百棵小树。天气很好，孩子们在草地上玩耍。"
)
CODE = (
    "def read_rows(path: str, *, limit: int = 100) -> list[dict[str, int]]:\n    rows = []\n"
    "    with open(path) as file:\n"
    "        for number, line in enumerate(file):\n            if number >= limit:\n                break\n"
    '            rows.append({"number": number, "size": len(line.strip())})\n    return rows\n\n'
)
PATTERNS = (
    r"ACME-\d{4,8}", r"(?i)project[ -](?:falcon|heron)", r"\b\d{3}-\d{2}-\d{4}\b", r"INV\d+/\d+",
    r"合同编号：?[A-Z0-9]{6,12}",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=20_000)
    options = parser.parse_args()
    print(json.dumps(measure(options.words, min(1_000_000, options.tokens)), indent=2, ensure_ascii=False))


def measure(count: int, tokens: int) -> dict[str, Any]:
    """All figures."""
    words = made_up_words(count)
    compile_rule_set(RuleSet("warm", 1, (words_rule(("warm",)),)))  # tables of characters, once in a process
    gc.collect()
    before, began = memory_mb(), time.process_time()
    compiled = compile_rule_set(RuleSet("set", 1, (words_rule(tuple(words)),)))
    loaded = time.process_time() - began
    gc.collect()
    patterns = compile_rule_set(
        RuleSet("patterns", 1, tuple(pattern_rule(number, text) for number, text in enumerate(PATTERNS))),
        detectors=Detectors({}),
    )
    return {
        "words": count,
        "load_s": round(loaded, 2),
        "memory_mb": round(memory_mb() - before, 1),
        "memory_of_process_mb": round(memory_mb(), 1),
        "us_per_token": {
            "words": costs([compiled], tokens, words),
            f"words and {len(PATTERNS)} patterns": costs([compiled, patterns], tokens, words),
        },
        "whole_text_us_per_token": {
            name: round(whole(compiled, text), 2) for name, text in ordinary(tokens * TOKEN).items()
        },
    }


def made_up_words(count: int) -> list[str]:
    """Different words, always the same."""
    chance = random.Random(20_26)
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 4_000)]
    syllables = ["".join(pair) for pair in itertools.product("bcdfghjklmnprstvw", "aeiou")]
    words: set[str] = set()
    while len(words) < count * 6 // 10:
        words.add("".join(chance.choices(characters, k=chance.choice((2, 2, 3, 3, 4, 4, 5, 6, 8)))))
    while len(words) < count:
        words.add("".join(chance.choices(syllables, k=chance.choice((2, 3, 4, 5, 6)))))
    return sorted(words)


def words_rule(words: tuple[str, ...]) -> Rule:
    """All of them, masked."""
    return Rule(id="words", kind=Kind.TERMS, category="list", terms=words, action_out=Action.MASK)


def pattern_rule(number: int, text: str) -> Rule:
    """One pattern, masked."""
    return Rule(
        id=f"pattern{number}", kind=Kind.PATTERN, category="pattern", pattern=text, action_out=Action.MASK
    )


def ordinary(size: int) -> dict[str, str]:
    """Ordinary texts."""
    return {
        name: (text * (size // len(text) + 1))[:size]
        for name, text in (("English", ENGLISH), ("Chinese", CHINESE), ("code", CODE))
    }


def worst(size: int, words: list[str]) -> dict[str, str]:
    """Texts that were made to be slow."""
    chance = random.Random(7)
    longest = sorted(words, key=len)[-1_000:]
    beginnings = "".join(word[:-1] for word in chance.choices(longest, k=size // 4))
    return {
        "beginnings of words only": beginnings[:size],
        "words only": "".join(chance.choices(words, k=size // 3))[:size],
        "single letters": " ".join(chance.choice("bcdfgaeiou") for _ in range(size // 2 + 1))[:size],
        "zero width between letters": "\u200b".join(chance.choice(beginnings) for _ in range(size // 2 + 1))[
            :size
        ],
        "one letter": "a" * size,
        "separators": "." * size,
        "rare code points": "".join(chr(chance.randrange(0x10000, 0x2FFFF)) for _ in range(size)),
    }


def costs(sets: list[Compiled], tokens: int, words: list[str]) -> dict[str, dict[str, float]]:
    """For each text: microseconds per token, the longest token, and the most that was held."""
    guard = Guard(sets)
    texts = {**ordinary(tokens * TOKEN), **worst(tokens * TOKEN, words)}
    return {name: streamed(guard, text) for name, text in texts.items()}


def streamed(guard: Guard, text: str) -> dict[str, float]:
    """One text as a stream of tokens."""
    pieces = [text[place : place + TOKEN] for place in range(0, len(text), TOKEN)]

    def once() -> None:
        transducer = guard.stream(Direction.OUT)
        for piece in pieces:
            transducer.feed(piece)
        transducer.finish()

    seconds = best(once)
    transducer = guard.stream(Direction.OUT)
    held, slowest = [], 0.0
    for piece in pieces:
        began = time.process_time()
        transducer.feed(piece)
        slowest = max(slowest, time.process_time() - began)
        held.append(transducer.held)
    return {
        "us_per_token": round(seconds / len(pieces) * 1e6, 2),
        "slowest_token_us": round(slowest * 1e6),
        "held_mean": round(sum(held) / len(held), 1),
        "held_most": max(held),
    }


def whole(compiled: Compiled, text: str) -> float:
    """Microseconds per token of a text in one piece."""
    guard = Guard([compiled])
    return best(lambda: guard.check(text, Direction.OUT)) / (len(text) / TOKEN) * 1e6


def best(what: Callable[[], object]) -> float:
    """Seconds of processor time, the best of three."""
    took = []
    for _ in range(3):
        began = time.process_time()
        what()
        took.append(time.process_time() - began)
    return min(took)


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 1e6


if __name__ == "__main__":
    main()
