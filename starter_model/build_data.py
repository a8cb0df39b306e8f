"""Expanding the reviewable sources into training conversations.

Run as a script it checks the sources and prints how much they give; training imports :func:`build_round`.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter

from json_data import json_sample
from phrasing import DATA, Entry, check_entries, load_entries, word_question
from render import END, Message, Sample, render
from tool_data import call_sample, no_call_sample
from values import make, pseudo_word

OUT_OF_SCOPE: dict[str, dict[str, list[str]]] = json.loads(
    (DATA / "out_of_scope.json").read_text(encoding="utf-8")
)
SYSTEMS = {
    "en": (
        "You are a helpful assistant.",
        "You are the Atrium assistant.",
        "Answer briefly.",
        "Be polite and concise.",
        "You are a friendly assistant for the Atrium platform.",
        "Answer the user's questions.",
        "You answer questions about Atrium.",
    ),
    "zh": (
        "你是一个有用的助手。",
        "你是 Atrium 助手。",
        "请简短回答。",
        "You are a helpful assistant.",
        "请用中文回答。",
        "你是 Atrium 平台的客服。",
        "回答用户的问题。",
    ),
}
#: Samples of each kind in one round, beside three wordings of every question in each language.
CALLS, NO_CALLS, JSONS, ECHOES, REFUSALS = 500, 80, 260, 260, 200
WORDINGS = 3


def refusal_question(language: str, rng: random.Random) -> str:
    """A question that has nothing to do with the platform."""
    source = OUT_OF_SCOPE[language]
    if rng.random() < 0.4:
        return rng.choice(source["whole"])
    word = rng.choice(source["words"]) if rng.random() < 0.75 else make("topic", language, rng)
    if rng.random() < 0.08:
        word = pseudo_word(rng)
    return rng.choice(source["patterns"]).format(
        w=word,
        a=rng.randrange(1000),
        b=rng.randrange(1000),
        c=make("city", language, rng),
        p=make("person", language, rng),
    )


def _turns(entries: list[Entry], language: str, rng: random.Random) -> list[tuple[str, str]]:
    """Questions and answers of one round in one language, in random order."""
    turns = [
        (word_question(entry, language, rng), entry.answer[language])
        for entry in entries
        for _ in range(WORDINGS)
    ]
    refusal = next(e for e in entries if e.id == "out_of_scope").answer[language]
    turns += [(refusal_question(language, rng), refusal) for _ in range(REFUSALS // 2)]
    rng.shuffle(turns)
    return turns


def _conversations(turns: list[tuple[str, str]], language: str, rng: random.Random) -> list[Sample]:
    """The turns dealt out into conversations of one to four turns, a third with a system message."""
    samples: list[Sample] = []
    rest = list(turns)
    while rest:
        length = rng.choices((1, 2, 3, 4), (62, 22, 10, 6))[0]
        messages: list[Message] = []
        if rng.random() < 0.35:
            messages.append({"role": "system", "content": rng.choice(SYSTEMS[language])})
        for _ in range(min(length, len(rest))):
            question, answer = rest.pop()
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        samples.append(render(messages))
    return samples


def _raw(entries: list[Entry], rng: random.Random) -> list[Sample]:
    """Plain texts for completion without a chat template: a third of the longer answers, each ended."""
    texts = [text for entry in entries for text in entry.answer.values() if len(text) > 30]
    return [[(text, True), (END, True)] for text in rng.sample(texts, len(texts) // 3)]


def echo_sample(rng: random.Random) -> Sample:
    """A request to repeat a few words: short practice in copying, which tool calls need."""
    language = rng.choice(("en", "zh"))
    kinds = rng.choices(
        ("word", "city", "person", "code", "int", "topic", "title", "date", "email"), k=rng.randint(1, 4)
    )
    text = " ".join(str(make(kind, language, rng)) for kind in kinds)
    asks = (
        ("Repeat: {t}", "Say {t}", "Echo {t}", "Repeat after me: {t}")
        if language == "en"
        else ("重复：{t}", "跟我说：{t}", "请重复 {t}", "复述：{t}")
    )
    question = rng.choice(asks).format(t=text)
    return render([{"role": "user", "content": question}, {"role": "assistant", "content": text}])


def build_round(entries: list[Entry], seed: int) -> list[Sample]:
    """One round of training texts: every fact in several fresh wordings, plus tools, JSON and plain text."""
    rng = random.Random(seed)
    samples: list[Sample] = []
    for language in ("en", "zh"):
        samples += _conversations(_turns(entries, language, rng), language, rng)
    samples += [call_sample(entries, rng) for _ in range(CALLS)]
    samples += [no_call_sample(entries, rng) for _ in range(NO_CALLS)]
    samples += [json_sample(entries, rng) for _ in range(JSONS)]
    samples += [echo_sample(rng) for _ in range(ECHOES)]
    samples += _raw(entries, rng)
    rng.shuffle(samples)
    return samples


def main() -> int:
    """Check the sources and print their counts; returns 1 when the sources have faults."""
    entries = load_entries()
    faults = check_entries(entries)
    for fault in faults:
        print("fault:", fault)
    for language in ("en", "zh"):
        questions = sum(len(e.questions.get(language, [])) for e in entries)
        held = sum(len(e.held_out.get(language, [])) for e in entries)
        length = sum(len(e.answer.get(language, "")) for e in entries) / max(1, len(entries))
        print(
            f"{language}: {len(entries)} answers ({length:.0f} characters on average), {questions} questions, "
            f"{held} held out"
        )
    samples = build_round(entries, 0)
    kinds = Counter("tools" if "<tools>" in s[0][0] else "other" for s in samples)
    print(
        f"one round: {len(samples)} texts, {dict(kinds)}, {sum(len(t) for s in samples for t, _ in s)} characters"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
