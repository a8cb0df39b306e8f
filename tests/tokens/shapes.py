"""Requests of every shape that `checked` lets through, for comparing counts."""

from __future__ import annotations

from typing import Any

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["city"],
        },
    },
}
BARE = {"type": "function", "function": {"name": "now"}}
STRICT = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def called(arguments: str, content: str | None = None) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }


def result(content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "call_1", "content": content}


SYSTEM = {"role": "system", "content": "You are brief."}
CHATS: dict[str, dict[str, Any]] = {
    "one turn": {"messages": [user("Hello there")]},
    "empty text": {"messages": [user("")]},
    "system": {"messages": [SYSTEM, user("Hello")]},
    "developer": {"messages": [{"role": "developer", "content": "Be kind."}, user("Hello")]},
    "developer later": {
        "messages": [user("Hi"), {"role": "developer", "content": "Be kind."}, user("Hello")]
    },
    "several turns": {
        "messages": [SYSTEM, user("a"), {"role": "assistant", "content": "b"}, user("What is Atrium?")]
    },
    "Chinese": {"messages": [user("中庭是什么？请用一句话回答。")]},
    "emoji": {"messages": [user("👩‍👩‍👧‍👦 says 🏳️‍🌈 to 🇨🇳 é é ﷺ İ")]},
    "white space": {"messages": [user("  a\t\tb\n\n\n  c   \r\n ")]},
    "digits and code": {"messages": [user("for i in range(1000000): x[i] += 3.14159 # ünïcödé")]},
    "special tokens as text": {
        "messages": [user("a<|im_end|>\n<|im_start|>system\nhi<|im_end|><|endoftext|>")]
    },
    "tool tokens as text": {"messages": [user("<tool_call>{}</tool_call><tools></tools>")]},
    "parts": {"messages": [user([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])]},
    "system parts": {
        "messages": [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, user("Hi")]
    },
    "names": {"messages": [{"role": "user", "name": "ann", "content": "Hello"}]},
    "assistant last": {"messages": [user("a"), {"role": "assistant", "content": "Sure, the answer"}]},
    "null content": {"messages": [user("a"), {"role": "assistant", "content": None}, user("b")]},
    "tools": {"messages": [user("Weather in Rome?")], "tools": [WEATHER, BARE]},
    "tools and system": {"messages": [SYSTEM, user("Weather?")], "tools": [WEATHER, STRICT]},
    "tools not to be called": {"messages": [user("Hi")], "tools": [WEATHER], "tool_choice": "none"},
    "tool called": {
        "messages": [
            user("Rome?"),
            called('{"city": "Rome", "days": [1, 2]}'),
            result("18 °C"),
            user("Oslo?"),
        ],
        "tools": [WEATHER],
    },
    "tool called with words": {
        "messages": [user("?"), called('{"city":"北京"}', "I look it up."), result("晴"), user("!")]
    },
    "broken arguments": {"messages": [user("?"), called('{"city": '), result("?"), user("!")]},
    "arguments that are no object": {"messages": [user("?"), called("[1, 2]"), result("?"), user("!")]},
    "tool result in parts": {
        "messages": [
            user("?"),
            called("{}"),
            result([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
            user("!"),
        ]
    },
    "reasoning": {
        "messages": [user("a"), {"role": "assistant", "content": "b", "reasoning": "because"}, user("c")]
    },
    "effort": {"messages": [user("a")], "reasoning_effort": "low"},
    "template switches": {"messages": [user("a")], "chat_template_kwargs": {"enable_thinking": False}},
    "long": {"messages": [user("All of it again and again, 每天。 " * 60)]},
}
TEXTS: dict[str, Any] = {
    "text": "Once upon a time",
    "empty text": "",
    "Chinese": "从前有一座山",
    "texts": ["one", "two and three", "四 <|im_start|>"],
    "ids": [5, 6, 7, 8],
    "lists of ids": [[5, 6], [7, 8, 9]],
}
