"""Reading the question-and-answer sources, and wording one question in many ways."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"

EN_TERM = (
    "What is {t}?",
    "what is {t}",
    "What's {t}?",
    "whats {t}",
    "Explain {t}",
    "explain {t} please",
    "Explain {t} to me",
    "Can you explain {t}?",
    "Define {t}",
    "Tell me about {t}",
    "what does {b} mean",
    "What does {b} mean?",
    "I want to know about {t}",
    "what exactly is {t}",
    "In Atrium, what is {t}?",
    "what is {t} in Atrium",
    "What is meant by {t}?",
    "describe {t}",
    "{b}",
    "{b}?",
    "What is the meaning of {b}?",
    "Please explain what {t} is",
    "wat is {t}",
    "give me a short explanation of {b}",
    "what do you mean by {t}",
)
EN_TERM_HELD = ("Could you clarify what {t} is?", "Help me understand {t}", "what is this thing called {b}")
ZH_TERM = (
    "什么是{t}？",
    "什么是{t}",
    "{t}是什么？",
    "{t}是什么",
    "请问什么是{t}？",
    "请问{t}是什么",
    "请解释一下{t}",
    "解释{t}",
    "{t}是什么意思？",
    "介绍一下{t}",
    "说说{t}",
    "能解释一下{t}吗？",
    "在Atrium里什么是{t}",
    "Atrium 的{t}是什么",
    "{t}",
    "{t}？",
    "我想了解{t}",
    "告诉我{t}是什么",
    "啥是{t}",
    "{t}指的是什么",
    "讲一下{t}",
    "{t}的意思",
    "谈谈{t}",
    "{t}是啥",
)
ZH_TERM_HELD = ("麻烦讲讲{t}", "帮我理解一下{t}", "{t}到底是什么东西？")
EN_WRAP = (
    "{q}",
    "{q}",
    "{q}",
    "{q}",
    "{q}",
    "Please tell me: {q}",
    "{q} please",
    "Hi, {q}",
    "Hello! {q}",
    "Question: {q}",
    "I would like to know: {q}",
    "Can you help me? {q}",
    "{q} Thanks!",
    "quick question: {q}",
    "In Atrium, {q}",
)
ZH_WRAP = (
    "{q}",
    "{q}",
    "{q}",
    "{q}",
    "{q}",
    "请问{q}",
    "请问，{q}",
    "你好，{q}",
    "我想知道{q}",
    "我想问一下，{q}",
    "{q}，谢谢",
    "问题：{q}",
    "能告诉我吗？{q}",
    "{q}呢",
    "请告诉我{q}",
    "您好，请问{q}",
)


@dataclass(slots=True)
class Entry:
    """One fact: its wordings and its single answer, per language (``en`` or ``zh``)."""

    id: str
    source: str
    term: dict[str, str] = field(default_factory=dict)
    questions: dict[str, list[str]] = field(default_factory=dict)
    held_out: dict[str, list[str]] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)


_FIELDS = {"Q": ("en", "q"), "A": ("en", "a"), "问": ("zh", "q"), "答": ("zh", "a")}


def _parse_line(entry: Entry, line: str) -> None:
    """Add one ``Q:``, ``A:``, ``问:`` or ``答:`` line to the entry; raises ValueError for any other line."""
    mark, _, text = line.partition(":")
    if mark not in _FIELDS:
        raise ValueError(f"{entry.source} [{entry.id}]: unknown line {line[:40]!r}")
    language, kind = _FIELDS[mark]
    if kind == "a":
        entry.answer[language] = text.strip()
        return
    for wording in text.split(" / "):
        held = wording.strip().startswith("!")
        group = entry.held_out if held else entry.questions
        group.setdefault(language, []).append(wording.strip().removeprefix("!").strip())


def load_entries(folder: Path = DATA / "qa") -> list[Entry]:
    """All entries of the source texts, in order of file name; the format is described in README.md."""
    entries: list[Entry] = []
    for path in sorted(folder.glob("*.txt")):
        for raw in path.read_text(encoding="utf-8").splitlines():
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                name, _, terms = line[1:].partition("]")
                entry = Entry(name, path.name)
                if terms.strip():
                    english, chinese = terms.split("|")
                    entry.term = {"en": english.strip(), "zh": chinese.strip()}
                entries.append(entry)
            else:
                _parse_line(entries[-1], line)
    return entries


def check_entries(entries: list[Entry]) -> list[str]:
    """Faults of the sources: missing parts, doubled ids, and wordings that two entries share."""
    faults: list[str] = []
    seen: dict[str, str] = {}
    ids: set[str] = set()
    for entry in entries:
        if entry.id in ids:
            faults.append(f"id {entry.id} twice")
        ids.add(entry.id)
        for language in ("en", "zh"):
            if language not in entry.answer or not entry.questions.get(language):
                faults.append(f"{entry.id}: no {language}")
            if not entry.held_out.get(language):
                faults.append(f"{entry.id}: no held-out {language}")
            for wording in all_wordings(entry, language) + entry.held_out.get(language, []):
                key = wording.lower().strip(" ?？.。!！")
                if seen.setdefault(key, entry.id) != entry.id:
                    faults.append(f"{wording!r} in {entry.id} and {seen[key]}")
    return faults


def _bare(term: str) -> str:
    """The term without its article: ``a tenant`` becomes ``tenant``."""
    for article in ("a ", "an ", "the "):
        if term.startswith(article):
            return term.removeprefix(article)
    return term


def _fill(template: str, term: str) -> str:
    """A template with the term put in; a term marked ``+`` is a plural."""
    plural = term.startswith("+")
    term = term.removeprefix("+")
    if plural:
        template = (
            template.replace("hat is {", "hat are {")
            .replace("hat's {", "hat are {")
            .replace("{t} is", "{t} are")
        )
        template = template.replace("does {b}", "do {b}").replace("exactly is", "exactly are")
    return template.format(t=term, b=_bare(term))


def all_wordings(entry: Entry, language: str) -> list[str]:
    """Every clean training wording of an entry: the written ones, then those from the term templates."""
    wordings = list(entry.questions.get(language, []))
    if entry.term:
        templates = EN_TERM if language == "en" else ZH_TERM
        wordings += [_fill(t, entry.term[language]) for t in templates]
    return wordings


def held_out_templates(entry: Entry, language: str) -> list[str]:
    """Wordings from templates that training never uses (empty for an entry without a term)."""
    if not entry.term:
        return []
    templates = EN_TERM_HELD if language == "en" else ZH_TERM_HELD
    return [_fill(t, entry.term[language]) for t in templates]


def _typo(text: str, rng: random.Random) -> str:
    """The text with one letter dropped, doubled or swapped inside one of its longer words."""
    words = text.split(" ")
    places = [i for i, w in enumerate(words) if len(w) > 3 and w.isascii() and w.isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    word = words[i]
    j = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        word = word[:j] + word[j + 1 :]
    elif kind == 1:
        word = word[:j] + word[j] + word[j:]
    else:
        word = word[:j] + word[j + 1] + word[j] + word[j + 2 :]
    words[i] = word
    return " ".join(words)


def _roughen(text: str, rng: random.Random) -> str:
    """The text with its capitals or its final mark changed, as people type it."""
    roll = rng.random()
    if roll < 0.2:
        return text.lower()
    if roll < 0.35:
        return text.rstrip("?？.。")
    if roll < 0.45:
        return text[:1].upper() + text[1:]
    if roll < 0.55 and text[-1:] not in "?？.。!！":
        return text + ("?" if text.isascii() else "？")
    if roll < 0.58:
        return text.upper()
    return text


def word_question(entry: Entry, language: str, rng: random.Random) -> str:
    """One random wording of the entry's question, wrapped and roughened now and then."""
    written = entry.questions[language]
    pool = written if not entry.term or rng.random() < 0.6 else all_wordings(entry, language)[len(written) :]
    text = rng.choice(pool)
    if rng.random() < 0.35:
        wrap = rng.choice(EN_WRAP if language == "en" else ZH_WRAP)
        text = wrap.format(q=text if wrap.startswith("{q}") else text[:1].lower() + text[1:])
    text = _roughen(text, rng)
    if rng.random() < 0.2:
        text = _typo(text, rng)
    return text
