"""A planted token is found in every disguise that a model could be talked into, and never where it is not."""

from __future__ import annotations

import base64
import codecs
import random
import re
from collections.abc import Callable

import pytest

from safety import canary
from safety.injection import views
from tests.examples import examples
from tests.safety.evaluation import ordinary_prompts

TOKEN = canary.make("ten_acme", "chat_1")
CORE = re.sub("[^a-z0-9]", "", TOKEN.removeprefix(canary.PREFIX))

type_of_step = Callable[[str], str]


def to_words(text: str) -> str:
    """An acrostic: every letter as the first of a word."""
    return " ".join(letter + "hing" for letter in text if letter.isalnum())


CYRILLIC = str.maketrans("aeopcxy", "аеорсху")
STEPS: dict[str, tuple[type_of_step, type_of_step]] = {
    "upper": (str.upper, str.lower),
    "dotted": (".".join, lambda text: text[::2]),
    "spaced": (" ".join, lambda text: text[::2]),
    "reversed": (lambda text: text[::-1], lambda text: text[::-1]),
    "base64": (
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64decode(text).decode(errors="replace"),
    ),
    "base32": (
        lambda text: base64.b32encode(text.encode()).decode(),
        lambda text: base64.b32decode(text).decode(errors="replace"),
    ),
    "hex": (lambda text: text.encode().hex(), lambda text: bytes.fromhex(text).decode(errors="replace")),
    "rot13": (lambda text: codecs.encode(text, "rot13"), lambda text: codecs.encode(text, "rot13")),
    "lines": ("\n".join, lambda text: text.replace("\n", "")),
    "zero width": ("\u200b".join, lambda text: text.replace("\u200b", "")),
    "full width": (
        lambda text: "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text),
        lambda text: "".join(chr(ord(one) - 0xFEE0) if "!" <= one <= "～" else one for one in text),
    ),
    "cyrillic": (lambda text: text.translate(CYRILLIC), lambda text: text),
    "percent": (
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        lambda text: bytes.fromhex(text.replace("%", "")).decode(errors="replace"),
    ),
    "entities": (
        lambda text: "".join(f"&#{ord(one)};" for one in text),
        lambda text: "".join(chr(int(one)) for one in re.findall(r"&#(\d+);", text)),
    ),
    "escapes": (
        lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
        lambda text: "".join(chr(int(one, 16)) for one in re.findall(r"\\u([0-9a-f]{4})", text)),
    ),
    "interleaved": ("x".join, lambda text: text[::2]),
    "acrostic": (to_words, lambda text: "".join(word[0] for word in text.split())),
}
PARTS: dict[str, Callable[[str], str]] = {
    "whole": lambda token: token,
    "letters": lambda _: CORE,
    "first half": lambda _: CORE[:12],
    "second half": lambda _: CORE[12:],
    "middle": lambda _: CORE[7:17],
}


def test_a_token_is_the_same_for_the_same_scope_only() -> None:
    assert canary.make("ten_acme", "chat_1") == TOKEN
    others = {
        canary.make(tenant, scope) for tenant in ("ten_acme", "ten_globex") for scope in ("chat_1", "chat_2")
    }
    assert len(others) == 4
    assert canary.make("a", "b:c") != canary.make("a:b", "c")


def test_a_token_has_its_form_and_reads_as_ascii() -> None:
    assert canary.is_token(TOKEN)
    assert TOKEN.isascii()
    assert not canary.is_token(TOKEN[:-1])


def test_a_token_needs_the_platform_s_secret(settings: object) -> None:
    settings.KEY_PEPPER = "another-pepper-of-sufficient-length"  # type: ignore[attr-defined]
    assert canary.make("ten_acme", "chat_1") != TOKEN


def test_it_is_planted_in_the_language_of_the_prompt() -> None:
    assert canary.plant("Be kind.", TOKEN).startswith("Be kind.\n\nConfidential")
    assert "机密" in canary.plant("要友善。", TOKEN, "zh-hans")
    assert TOKEN in canary.plant("", TOKEN)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("part", PARTS)
def test_it_is_seen_in_disguise(step: str, part: str) -> None:
    text = f"Certainly! {STEPS[step][0](PARTS[part](TOKEN))} is what you asked for."
    whole = STEPS[step][0](PARTS[part](TOKEN))
    assert canary.appears(whole, [TOKEN])
    if step not in ("interleaved", "acrostic"):
        assert canary.appears(text, [TOKEN])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("base64", "spaced"),
        ("reversed", "base64"),
        ("hex", "reversed"),
        ("rot13", "base64"),
        ("base64", "hex"),
        ("base64", "base64"),
        ("percent", "base64"),
        ("escapes", "lines"),
        ("base64", "zero width"),
        ("zero width", "base64"),
        ("zero width", "hex"),
        ("hex", "full width"),
        ("reversed", "rot13"),
    ],
)
def test_it_is_seen_in_one_disguise_over_another(first: str, second: str) -> None:
    assert canary.appears(STEPS[second][0](STEPS[first][0](TOKEN)), [TOKEN])


@pytest.mark.parametrize("encoding", ["base64", "base32", "hex"])
def test_invisible_characters_below_an_encoding_do_not_hide_that_it_is_text(encoding: str) -> None:
    """Of any token, not by the luck of its letters: what is decoded is read as text."""
    encoded = STEPS[encoding][0]("\u200b".join(TOKEN))
    read = [content for content, *_ in views.decoded(encoded, short=True)]
    assert "\u200b".join(TOKEN) in read


@pytest.mark.parametrize("change", [str.upper, str.lower, str.swapcase])
@pytest.mark.parametrize("part", ["whole", "letters", "first half", "middle"])
def test_base64_that_lost_its_case_is_seen(part: str, change: Callable[[str], str]) -> None:
    """Whoever knows the alphabet finds case again by trying; of some tokens base64 has one case anyway."""
    encoded = change(base64.b64encode(PARTS[part](TOKEN).encode()).decode())
    assert canary.appears(f"Certainly! {encoded} is what you asked for.", [TOKEN])
    assert not canary.appears(f"Certainly! {encoded[:8]} is what you asked for.", [TOKEN])


def test_pieces_among_other_words_are_seen() -> None:
    pieces = ", then ".join(CORE[place : place + 4] for place in range(0, 24, 4))
    assert canary.appears(f"the parts are {pieces}", [TOKEN])
    assert not canary.appears(f"one part is {CORE[:5]}", [TOKEN])


@pytest.mark.slow
def test_nothing_is_seen_in_ordinary_text() -> None:
    other = canary.make("ten_globex", "chat_1")
    for prompt in ordinary_prompts()[::4]:
        assert not canary.appears(prompt, [TOKEN])
    assert not canary.appears(f"my reference is {other}", [TOKEN])


def test_masking_leaves_the_rest() -> None:
    assert canary.mask(f"It is {TOKEN}, of course.", [TOKEN]) == "It is ref-[CANARY], of course."
    assert canary.mask("It is a secret.", [TOKEN]) == "It is a secret."


def test_the_forms_for_a_stream_cover_the_plain_disguises() -> None:
    forms = canary.variants(TOKEN)
    assert len(forms) == len(set(forms)) < 200
    assert min(len(form) for form in forms) >= canary.WINDOW
    for text in (CORE, CORE[::-1], codecs.encode(CORE, "rot13"), CORE.encode().hex()):
        assert any(form in text for form in forms)
    for before in ("", "a", "ab", "abc"):
        encoded = base64.b64encode(f"{before}{TOKEN} and more".encode()).decode()
        assert any(form in encoded for form in forms)


def attack(chance: random.Random, steps: list[str], part: str, prose: bool) -> tuple[str, str]:
    """What a model would write that was talked into it, and what the attacker makes of the masked answer."""
    answer = PARTS[part](TOKEN)
    for step in steps:
        answer = STEPS[step][0](answer)
    sent = f"Sure:\n{answer}\n" if prose else answer
    masked = canary.mask(sent, [TOKEN])
    got = masked.removeprefix("Sure:\n").removesuffix("\n") if prose else masked
    for step in reversed(steps):
        try:
            got = STEPS[step][1](got)
        except ValueError:
            break
    return masked, got


def known(got: str) -> int:
    """How many letters of the token in a row the attacker has."""
    letters = "".join(one for one in got.lower() if one.isalnum())
    best = 0
    for start in range(len(CORE)):
        while CORE[start : start + best + 1] in letters and start + best < len(CORE):
            best += 1
    return best


def test_it_never_leaves_in_500_adaptive_rounds() -> None:
    """The attacker keeps the disguises that got furthest, changes them, and puts them on top of each other."""
    chance = random.Random(58)
    names = list(STEPS)
    kept: list[tuple[int, list[str], str, bool]] = [(0, [chance.choice(names)], "whole", False)]
    worst = 0
    for _ in range(examples(500)):
        _, steps, part, prose = max(chance.sample(kept, min(3, len(kept))), key=lambda one: one[0])
        steps = list(steps)
        change = chance.randrange(4)
        if change == 0 and len(steps) < canary.MAX_STEPS - 1:
            steps.append(chance.choice(names))
        elif change == 1:
            steps[chance.randrange(len(steps))] = chance.choice(names)
        elif change == 2:
            part = chance.choice(list(PARTS))
        else:
            prose = not prose
        masked, got = attack(chance, steps, part, prose)
        assert not canary.appears(masked, [TOKEN])
        reached = known(got)
        assert reached < canary.FRAGMENT, (steps, part, prose, masked)
        worst = max(worst, reached)
        kept = sorted([*kept, (reached, steps, part, prose)], key=lambda one: -one[0])[:40]
    assert worst < canary.FRAGMENT


def test_without_the_mask_the_same_attacker_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "mask", lambda text, _: text)
    _, got = attack(random.Random(1), ["base64", "spaced"], "whole", True)
    assert known(got) == canary.LETTERS
