"""Made-up conversations in which the assistant calls tools, or rightly does not."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from phrasing import Entry, word_question
from render import Message, Sample, call_text, dump, render
from values import make, pseudo_word, schema_type

TOOLS: list[dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parent / "data" / "tools.json").read_text(encoding="utf-8")
)
VERBS = ("get", "set", "find", "make", "run", "check", "start", "stop", "show", "count", "open", "update")
NOUNS = (
    "user",
    "file",
    "order",
    "job",
    "room",
    "page",
    "report",
    "node",
    "task",
    "event",
    "photo",
    "price",
    "map",
    "note",
    "team",
    "key",
    "score",
    "item",
    "plan",
    "account",
    "log",
    "record",
    "group",
    "device",
)
KEYS = (
    "name",
    "id",
    "city",
    "count",
    "size",
    "title",
    "color",
    "user",
    "date",
    "limit",
    "path",
    "kind",
    "owner",
    "label",
    "value",
    "tag",
    "level",
    "place",
    "amount",
    "reason",
    "target",
    "model",
    "tenant",
    "text",
    "note",
)
KINDS = ("word", "int", "city", "person", "code", "topic", "float", "date", "model", "title", "email")
SYSTEMS = {
    "en": (
        "",
        "",
        "",
        "You are a helpful assistant.",
        "Use the tools when needed.",
        "You can call functions.",
    ),
    "zh": ("", "", "", "你是一个有用的助手。", "需要时使用工具。", "You are a helpful assistant."),
}


def _listed(tool: dict[str, Any], language: str) -> dict[str, Any]:
    """The tool in the form of the OpenAI API."""
    names = {key.rstrip("?"): kind for key, kind in tool["params"].items()}
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {k: schema_type(v) for k, v in names.items()},
    }
    parameters["required"] = [key for key in tool["params"] if not key.endswith("?")]
    function: dict[str, Any] = {"name": tool["name"], "parameters": parameters}
    if tool["about"]:
        function["description"] = tool["about"][language == "zh"]
    return {"type": "function", "function": function}


def _invented(rng: random.Random) -> dict[str, Any]:
    """A tool with a random name and random parameters, so that names are copied and not remembered."""
    verb, noun = rng.choice(VERBS), rng.choice(NOUNS)
    name = rng.choice(
        (f"{verb}_{noun}", pseudo_word(rng), f"{verb}_{pseudo_word(rng)}", f"{verb}{noun.title()}")
    )
    keys = rng.sample(KEYS, rng.randint(1, 3))
    keys = [pseudo_word(rng) if rng.random() < 0.2 else key for key in keys]
    params = {key: rng.choice(KINDS) for key in keys}
    said = name.replace("_", " ") if rng.random() < 0.4 else name
    pairs = [f"{key} {{{key}}}" for key in params]
    signs = [f"{key}={{{key}}}" for key in params]
    one = f" {{{keys[0]}}}" if len(keys) == 1 else ""
    english = [
        f"{said} with " + " and ".join(pairs),
        f"Call {said} with " + ", ".join(pairs),
        f"Use {said}: " + ", ".join(signs),
        f"Please {said}, " + ", ".join(pairs),
        f"I need {said} for " + " and ".join(pairs),
    ]
    chinese = [
        f"调用 {said}，" + "，".join(pairs),
        f"请用 {said}：" + "，".join(signs),
        f"使用 {said}，参数 " + "，".join(pairs),
        f"帮我执行 {said}，" + "、".join(pairs),
    ]
    if one:
        english += [f"{said}{one}", f"Please {said}{one}"]
        chinese += [f"{said}{one}", f"请 {said}{one}"]
    about = [f"{verb.capitalize()} a {noun}", f"{verb} {noun}"] if rng.random() < 0.6 else []
    result = {rng.choice(KEYS): rng.choice(KINDS) for _ in range(rng.randint(1, 2))}
    return {"name": name, "about": about, "params": params, "en": english, "zh": chinese, "result": result}


def _menu(target: dict[str, Any], language: str, rng: random.Random) -> list[dict[str, Any]]:
    """The tool among none to three others, in random order."""
    others = [
        _invented(rng) if rng.random() < 0.4 else rng.choice(TOOLS)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))
    ]
    tools = [target] + [t for t in others if t["name"] != target["name"]]
    rng.shuffle(tools)
    return [_listed(tool, language) for tool in tools]


def _asked(tool: dict[str, Any], language: str, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A question for the tool, and the arguments that the question states."""
    template = rng.choice(tool[language])
    kinds = {key.rstrip("?"): kind for key, kind in tool["params"].items()}
    named = re.findall(r"{(\w+)}", template)
    arguments = {key: make(kind, language, rng) for key, kind in kinds.items() if key in named}
    return template.format(**arguments), arguments


def result_sentence(result: dict[str, Any], language: str) -> str:
    """The sentence in which a tool's result is told."""
    parts = [f"{k} {', '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in result.items()]
    return (
        f"Here is the result: {', '.join(parts)}." if language == "en" else f"结果如下：{'，'.join(parts)}。"
    )


def _answered(tool: dict[str, Any], language: str, rng: random.Random) -> list[Message]:
    """A tool's result and the assistant's sentence about it."""
    result = {key: make(kind, language, rng) for key, kind in tool["result"].items()}
    if rng.random() < 0.15:
        word = str(next(iter(result.values())))
        told = f"Here is the result: {word}." if language == "en" else f"结果如下：{word}。"
        return [{"role": "tool", "content": word}, {"role": "assistant", "content": told}]
    return [
        {"role": "tool", "content": dump(result)},
        {"role": "assistant", "content": result_sentence(result, language)},
    ]


def _opening(language: str, rng: random.Random) -> list[Message]:
    """A system message, or nothing."""
    system = rng.choice(SYSTEMS[language])
    return [{"role": "system", "content": system}] if system else []


def call_sample(entries: list[Entry], rng: random.Random) -> Sample:
    """A conversation with a tool call; half go on to the result, some to a second question."""
    language = rng.choice(("en", "en", "zh"))
    tool = _invented(rng) if rng.random() < 0.45 else rng.choice(TOOLS)
    question, arguments = _asked(tool, language, rng)
    call = call_text(tool["name"], arguments)
    given = ""
    if rng.random() < 0.08:
        question2, arguments2 = _asked(tool, language, rng)
        joiner = " and also " if language == "en" else "，另外"
        question = question.rstrip("?？.") + joiner + question2
        call += "\n" + call_text(tool["name"], arguments2)
    elif rng.random() < 0.12:
        call = (
            dump([{"name": tool["name"], "parameters": arguments}]) if rng.random() < 0.5 else dump(arguments)
        )
        given = call[0]
    messages = _opening(language, rng)
    if rng.random() < 0.1:
        entry = rng.choice(entries)
        messages += [
            {"role": "user", "content": word_question(entry, language, rng)},
            {"role": "assistant", "content": entry.answer[language]},
        ]
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": call}]
    if not given and rng.random() < 0.45:
        messages += _answered(tool, language, rng)
    return render(messages, _menu(tool, language, rng), given)


def no_call_sample(entries: list[Entry], rng: random.Random) -> Sample:
    """A question about the platform, asked while tools are at hand: answered without them."""
    language = rng.choice(("en", "zh"))
    entry = rng.choice(entries)
    tool = _invented(rng) if rng.random() < 0.4 else rng.choice(TOOLS)
    messages = [
        *_opening(language, rng),
        {"role": "user", "content": word_question(entry, language, rng)},
        {"role": "assistant", "content": entry.answer[language]},
    ]
    return render(messages, _menu(tool, language, rng))
