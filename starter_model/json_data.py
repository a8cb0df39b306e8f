"""Made-up conversations in which the assistant answers with JSON: short, always closed, for any schema."""

from __future__ import annotations

import random
from typing import Any

from phrasing import Entry, word_question
from render import Message, Sample, dump, render
from tool_data import KEYS, SYSTEMS
from values import VALUES, make, pseudo_word

#: Keys whose values have a natural kind.
KNOWN = {
    "name": "person",
    "city": "city",
    "age": "small",
    "title": "title",
    "email": "email",
    "score": "small",
    "price": "float",
    "count": "small",
    "date": "date",
    "id": "code",
    "status": "status",
    "country": "city",
    "temperature": "small",
    "unit": "unit",
    "currency": "currency",
    "priority": "level",
    "valid": "bool",
    "topic": "topic",
    "model": "model",
    "active": "bool",
    "confidence": "share",
    "tags": "words",
    "items": "words",
    "keywords": "words",
    "numbers": "ints",
    "answer": "answer",
    "summary": "answer",
    "reason": "answer",
    "text": "answer",
    "is_valid": "bool",
    "scores": "ints",
    "names": "words",
    "steps": "words",
    "category": "word",
}
ASKS = {
    "en": (
        "Answer as JSON.",
        "Reply in JSON.",
        "Give the answer as JSON",
        "json please",
        "Return a JSON object.",
    ),
    "zh": ("用 JSON 回答。", "请以 JSON 格式回答", "返回 JSON 对象。", "用json输出"),
}
OPENERS = {
    "en": (
        "Describe {n} as JSON",
        "Give me data about {n}",
        "Extract the facts: {n}, {c}, {i}",
        "Make a record for {n}",
        "{n} is {i} years old and lives in {c}.",
        "Tell me about {n} in JSON",
        "Fill in the form for {n} from {c}.",
        "Generate a person",
        "Give an example",
        "Create an object",
        "{n} from {c} scored {i}.",
    ),
    "zh": (
        "用 JSON 描述{n}",
        "给我{n}的数据",
        "提取信息：{n}，{c}，{i}",
        "为{n}建立一条记录",
        "{n}今年{i}岁，住在{c}。",
        "来自{c}的{n}得了{i}分。",
        "生成一个人物",
        "给一个例子",
        "创建一个对象",
    ),
}


#: Values of things that a prompt does not state: always the same, so that they are quick to write and to end.
DEFAULTS: dict[str, Any] = {
    "bool": True,
    "share": 0.9,
    "float": 9.5,
    "title": "Note",
    "email": "info@example.com",
    "date": "2026-01-01",
    "code": "A-1",
    "status": "ok",
    "unit": "celsius",
    "currency": "USD",
    "level": "medium",
    "topic": "Atrium",
    "model": "starter",
    "ints": [1, 2, 3],
}


class _Facts:
    """The values that a prompt states, so that the JSON can repeat them."""

    def __init__(self, language: str, rng: random.Random) -> None:
        self.person, self.city = make("person", language, rng), make("city", language, rng)
        self.number = rng.randint(1, 99)
        self.answer = ""

    def ask(self, template: str) -> str:
        """The question; what it does not state becomes the same in every answer."""
        question = template.format(n=self.person, c=self.city, i=self.number)
        self.person = self.person if "{n}" in template else "Alice"
        self.city = self.city if "{c}" in template else "Paris"
        self.number = self.number if "{i}" in template else 1
        return question

    def value(self, kind: str) -> Any:
        """A value of the kind: from the prompt where it states one, the usual one otherwise."""
        match kind:
            case "person" | "word":
                return self.person
            case "city":
                return self.city
            case "small" | "int":
                return self.number
            case "words":
                return [self.person, self.city]
            case "answer":
                return self.answer or self.person
        return DEFAULTS[kind]

    def fields(self, rng: random.Random, depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """A random object and its schema; objects nest at most ``depth`` further levels."""
        values: dict[str, Any] = {}
        properties: dict[str, Any] = {}
        for _ in range(rng.randint(1, 3)):
            key, kind = rng.choice(list(KNOWN.items()))
            if rng.random() < 0.3:
                key = rng.choice(
                    (pseudo_word(rng), rng.choice(KEYS), f"{rng.choice(KEYS)}_{rng.choice(KEYS)}")
                )
                kind = rng.choice(
                    ("word", "int", "bool", "float", "words", "ints", "status", "person", "enum")
                )
            if depth and rng.random() < 0.12:
                values[key], properties[key] = self.fields(rng, depth - 1)
            elif depth and rng.random() < 0.06:
                inner, inner_schema = self.fields(rng, 0)
                values[key] = [inner]
                properties[key] = {"type": "array", "items": inner_schema}
            elif kind == "enum":
                options = [pseudo_word(rng) for _ in range(rng.randint(2, 3))]
                values[key], properties[key] = options[0], {"type": "string", "enum": options}
            else:
                values[key] = self.value(kind)
                properties[key] = _schema_of(values[key], kind)
        return values, {"type": "object", "properties": properties, "required": list(properties)}


def _schema_of(value: Any, kind: str) -> dict[str, Any]:
    """The JSON schema that fits a value."""
    if kind in ("unit", "level"):
        return {"type": "string", "enum": VALUES[kind]}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, list):
        return {"type": "array", "items": _schema_of(value[0], "")}
    return {"type": {int: "integer", float: "number"}.get(type(value), "string")}


def _pieces(value: Any) -> list[tuple[str, bool]]:
    """The JSON text of a value, its keys and opening marks given, its contents and closing marks learnt."""
    if isinstance(value, dict):
        pieces = [("{", False)]
        for index, (key, inner) in enumerate(value.items()):
            pieces += [(", " if index else "", True), (f"{dump(key)}: ", False), *_pieces(inner)]
        return [*pieces, ("}", True)]
    if isinstance(value, list):
        pieces = [("[", False)]
        for index, inner in enumerate(value):
            pieces += [(", " if index else "", True), *_pieces(inner)]
        return [*pieces, ("]", True)]
    text = dump(value)
    return [('"', False), (text[1:], True)] if isinstance(value, str) else [(text, True)]


def json_sample(entries: list[Entry], rng: random.Random) -> Sample:
    """A JSON answer: with a schema in the prompt, on request, or forced by a grammar that the prompt hides."""
    language = rng.choice(("en", "zh"))
    facts = _Facts(language, rng)
    if rng.random() < 0.55:
        question = facts.ask(rng.choice(OPENERS[language]))
    else:
        facts.ask("")
        entry = rng.choice(entries)
        question, facts.answer = word_question(entry, language, rng), entry.answer[language]
    values, schema = facts.fields(rng, 2)
    style = rng.random()
    if facts.answer and (style < 0.55 or not set(values) & {"answer", "summary", "text", "reason"}):
        properties = {"answer": {"type": "string"}}
        if rng.random() < 0.7:
            values, schema = {"answer": facts.answer}, {"type": "object", "properties": properties}
        else:
            values = {"answer": facts.answer, **values}
            schema["properties"] = {**properties, **schema["properties"]}
    messages: list[Message] = []
    if style < 0.35:
        shown = dump(schema) if rng.random() < 0.5 else ", ".join(values)
        lead = "Answer as JSON with: " if language == "en" else "用 JSON 回答，包含："
        if rng.random() < 0.5:
            messages.append({"role": "system", "content": lead + shown})
        else:
            question += f"\n{lead}{shown}"
    elif rng.random() < 0.4:
        question = f"{question} {rng.choice(ASKS[language])}"
        person = {"name": facts.person, "age": facts.number, "city": facts.city}
        values = {"answer": facts.answer} if facts.answer else person
    else:
        return _forced(question, values, language, rng)
    messages += [{"role": "user", "content": question}, {"role": "assistant", "content": dump(values)}]
    return render(messages)


def _forced(question: str, values: dict[str, Any], language: str, rng: random.Random) -> Sample:
    """An answer whose keys come from a grammar: only the values and the closing marks are learnt."""
    system = rng.choice(SYSTEMS[language])
    opening: list[Message] = [{"role": "system", "content": system}] if system else []
    sample = render([*opening, {"role": "user", "content": question}])
    return [
        *sample,
        ("<|im_start|>assistant\n", False),
        *_pieces(values),
        ("<|im_end|>", True),
        ("\n", False),
    ]
