"""What a request may say, and within which bounds. An allow-list: what is not named here is refused by name.

The bounds stand in front of vLLM, whose own checks have let requests through that ended the engine for every tenant
(CVE-2026-34756, CVE-2026-93989, CVE-2026-105757, GHSA-69j4-grxj-j64p and others). `cache_salt` is
the platform's to set: taken out without a word (law L5). So is `priority`, but for tenants whose plan lets them order
their own requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from inference.gateway.errors import Rejected
from inference.openai import schemas

Check = Callable[[Any, str], None]

MAX_MESSAGES = 2_000
MAX_CHOICES = 16
MAX_STOPS = 16
MAX_INPUTS = 2_048
MAX_PROMPTS = 64
MAX_TOKENS = 1_000_000
MAX_TAGS, MAX_TAG_NAME, MAX_TAG = 16, 64, 512
MAX_PRIORITY = 1_000
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def refuse(param: str, message: str, code: str = "invalid_value") -> Rejected:
    """A 400 that names the parameter and says what it should be."""
    return Rejected(400, code, f"Invalid '{param}': {message}", param=param)


def number(low: float, high: float, *, above: bool = False) -> Check:
    """A finite number from `low` to `high` (above `low`, with `above`)."""

    def check(value: Any, param: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refuse(param, "must be a number.", "invalid_type")
        if not (low < value <= high if above else low <= value <= high):
            raise refuse(param, f"must be {'above' if above else 'at least'} {low:g} and at most {high:g}.")

    return check


def integer(low: int, high: int) -> Check:
    """A whole number from `low` to `high`."""

    def check(value: Any, param: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse(param, "must be a whole number.", "invalid_type")
        if not low <= value <= high:
            raise refuse(param, f"must be from {low} to {high}.")

    return check


def text(limit: int, *, empty: bool = True) -> Check:
    """A string of at most `limit` characters."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, str):
            raise refuse(param, "must be a string.", "invalid_type")
        if len(value) > limit or (not empty and not value):
            raise refuse(param, f"must have {'up to' if empty else '1 to'} {limit} characters.")

    return check


def flag(value: Any, param: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise refuse(param, "must be true or false.", "invalid_type")


def one_of(*choices: str) -> Check:
    """One of a few words."""

    def check(value: Any, param: str) -> None:
        if value not in choices:
            raise refuse(param, f"must be one of {', '.join(choices)}.")

    return check


def items(limit: int, check_item: Check, *, least: int = 0) -> Check:
    """A list of `least` to `limit` items."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, list):
            raise refuse(param, "must be a list.", "invalid_type")
        if not least <= len(value) <= limit:
            raise refuse(param, f"must have {least} to {limit} items.")
        for index, item in enumerate(value):
            check_item(item, f"{param}[{index}]")

    return check


def anything_small(value: Any, param: str) -> None:
    """A value that is accepted for compatibility and not used; bounded all the same."""
    if isinstance(value, str | list | dict) and len(value) > 1_000:
        raise refuse(param, "is too large.")


def stops(value: Any, param: str) -> None:
    """A stop string, or up to 16 of them."""
    if isinstance(value, str):
        value = [value]
    items(MAX_STOPS, text(256, empty=False))(value, param)


def logit_bias(value: Any, param: str) -> None:
    """Token ids (as strings) to a bias of -100 to 100."""
    if not isinstance(value, dict):
        raise refuse(param, "must map token ids to numbers.", "invalid_type")
    if len(value) > 1_024:
        raise refuse(param, "must have at most 1024 entries.")
    bias = number(-100, 100)
    for token, weight in value.items():
        if not token.isascii() or not token.isdigit() or len(token) > 9:
            raise refuse(param, "must map token ids to numbers.")
        bias(weight, f"{param}.{token}")


def metadata(value: Any, param: str) -> None:
    """Up to 16 pairs of strings, as OpenAI bounds them; they become the usage record's tags."""
    if not isinstance(value, dict):
        raise refuse(param, "must map strings to strings.", "invalid_type")
    if len(value) > MAX_TAGS:
        raise refuse(param, f"must have at most {MAX_TAGS} entries.")
    for name, tag in value.items():
        if not 0 < len(name) <= MAX_TAG_NAME:
            raise refuse(param, f"names must have 1 to {MAX_TAG_NAME} characters.")
        text(MAX_TAG)(tag, f"{param}.{name}")
        if "\x00" in name or "\x00" in tag:
            raise refuse(param, "must not hold NUL characters.")


def messages(value: Any, param: str) -> None:
    """A conversation of 1 to 2,000 messages, text only."""
    items(MAX_MESSAGES, _message, least=1)(value, param)


def _message(value: Any, param: str) -> None:
    if not isinstance(value, dict):
        raise refuse(param, "must be an object with 'role' and 'content'.", "invalid_type")
    if value.get("role") not in _ROLES:
        raise refuse(f"{param}.role", f"must be one of {', '.join(_ROLES)}.")
    unknown = set(value) - {
        "role", "content", "name", "tool_calls", "tool_call_id", "function_call", "refusal", "reasoning",
        "reasoning_content", "audio", "annotations",
    }  # fmt: skip
    if unknown:
        raise refuse(f"{param}.{min(unknown)}", "is not a field of a message.", "unknown_parameter")
    content = value.get("content")
    if content is None:
        if value["role"] != "assistant" and "tool_calls" not in value:
            raise refuse(f"{param}.content", "must not be missing.", "missing_required_parameter")
    elif isinstance(content, list):
        for index, part in enumerate(content):
            _part(part, f"{param}.content[{index}]")
    elif not isinstance(content, str):
        raise refuse(f"{param}.content", "must be a string or a list of parts.", "invalid_type")
    for name in ("name", "tool_call_id"):
        if value.get(name) is not None:
            text(256)(value[name], f"{param}.{name}")
    if value.get("tool_calls") is not None:
        items(128, _tool_call)(value["tool_calls"], f"{param}.tool_calls")


def _without_nulls(value: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Null means "not given" in messages, too: clients send answers back with every field that has none."""
    return [
        {name: inner for name, inner in message.items() if inner is not None or name == "content"}
        for message in value
    ]


def _part(value: Any, param: str) -> None:
    # SECURITY: other kinds of parts make vLLM fetch addresses that the client chose (SSRF, GO-2026-5652).
    if not isinstance(value, dict) or value.get("type") not in ("text", "refusal"):
        raise refuse(param, "only parts of the type 'text' are supported.")
    if not isinstance(value.get(value["type"]), str):
        raise refuse(param, "must hold its text as a string.", "invalid_type")


def _tool_call(value: Any, param: str) -> None:
    if isinstance(value, dict) and value.get("id") is not None:
        text(256)(value["id"], f"{param}.id")
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise refuse(param, "must be an object with 'id', 'type' and 'function'.", "invalid_type")
    if not isinstance(function.get("arguments", ""), str):
        raise refuse(f"{param}.function.arguments", "must be a string of JSON.", "invalid_type")


def tools(value: Any, param: str) -> None:
    """Up to 128 functions with JSON schemas of bounded size."""
    items(128, _tool)(value, param)


def _tool(value: Any, param: str) -> None:
    if not isinstance(value, dict) or value.get("type") != "function":
        raise refuse(param, "must be of the type 'function'.")
    function = value.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise refuse(f"{param}.function", "must be an object with a name.", "invalid_type")
    if not _NAME.fullmatch(function["name"]):
        raise refuse(
            f"{param}.function.name", "must be 1 to 64 letters, digits, underscores, dots or hyphens."
        )
    if function.get("parameters") is not None:
        schemas.check(function["parameters"], f"{param}.function.parameters")


def tool_choice(value: Any, param: str) -> None:
    """none, auto, required, or one function by name."""
    if isinstance(value, str):
        one_of("none", "auto", "required")(value, param)
    elif not (
        isinstance(value, dict)
        and value.get("type") == "function"
        and isinstance(value.get("function"), dict)
        and isinstance(value["function"].get("name"), str)
    ):
        raise refuse(param, "must be none, auto, required, or name one function.")


def response_format(value: Any, param: str) -> None:
    """text, json_object, or json_schema with a schema of bounded size."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise refuse(f"{param}.type", "must be one of text, json_object, json_schema.")
    if kind == "json_schema":
        inner = value.get("json_schema")
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise refuse(f"{param}.json_schema", "must be an object with 'name' and 'schema'.")
        schemas.check(inner.get("schema"), f"{param}.json_schema.schema")


def structured_outputs(value: Any, param: str) -> None:
    """vLLM's own form: one of json (a schema), choice (strings), regex (short)."""
    if not isinstance(value, dict) or len(value) != 1 or not set(value) <= {"json", "choice", "regex"}:
        raise refuse(param, "must hold exactly one of json, choice, regex.")
    if "json" in value:
        schemas.check(value["json"], f"{param}.json")
    elif "choice" in value:
        items(128, text(1_000, empty=False), least=1)(value["choice"], f"{param}.choice")
    else:
        schemas.check_pattern(value["regex"], f"{param}.regex")


def stream_options(value: Any, param: str) -> None:
    """include_usage, continuous_usage_stats."""
    if not isinstance(value, dict):
        raise refuse(param, "must be an object.", "invalid_type")
    for name, inner in value.items():
        if name not in ("include_usage", "continuous_usage_stats", "include_obfuscation"):
            raise refuse(f"{param}.{name}", "is not a stream option.", "unknown_parameter")
        flag(inner, f"{param}.{name}")


def chat_template_kwargs(value: Any, param: str) -> None:
    """The few switches that templates know. SECURITY: free ones reach Jinja (PYSEC-2026-2013)."""
    if not isinstance(value, dict) or not set(value) <= {"enable_thinking", "thinking"}:
        raise refuse(param, "may hold enable_thinking and thinking only.", "unknown_parameter")
    for name, inner in value.items():
        flag(inner, f"{param}.{name}")


def prompt(value: Any, param: str) -> None:
    """A string, token ids, or a list of up to 64 of either."""
    _texts_or_ids(value, param, MAX_PROMPTS)


def embedding_input(value: Any, param: str) -> None:
    """A string, token ids, or a list of up to 2,048 of either; none empty."""
    _texts_or_ids(value, param, MAX_INPUTS, empty=False)


def _texts_or_ids(value: Any, param: str, limit: int, *, empty: bool = True) -> None:
    if isinstance(value, str):
        if not value and not empty:
            raise refuse(param, "must not be empty.")
        return
    if not isinstance(value, list) or not value:
        raise refuse(param, "must be a string, a list of strings, or token ids.", "invalid_type")
    if isinstance(value[0], int):
        items(MAX_TOKENS, integer(0, 2**31 - 1))(value, param)
        return
    if len(value) > limit:
        raise refuse(param, f"must have at most {limit} items.")
    for index, item in enumerate(value):
        if isinstance(item, str) and (item or empty):
            continue
        if isinstance(item, list) and item:
            items(MAX_TOKENS, integer(0, 2**31 - 1))(item, f"{param}[{index}]")
            continue
        raise refuse(f"{param}[{index}]", "must be a string that is not empty, or token ids.", "invalid_type")


_UNUSED = dict.fromkeys(
    (
        "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
        "verbosity", "prediction",
    ),
    anything_small,
)  # fmt: skip
_SAMPLING: dict[str, Check] = {
    "model": text(200, empty=False),
    "max_tokens": integer(1, MAX_TOKENS),
    "temperature": number(0, 2),
    "top_p": number(0, 1, above=True),
    "top_k": integer(-1, 1_000_000),
    "min_p": number(0, 1),
    "n": integer(1, MAX_CHOICES),
    "stop": stops,
    "stop_token_ids": items(64, integer(0, 2**31 - 1)),
    "bad_words": items(64, text(64, empty=False)),
    "seed": integer(-(2**63), 2**63 - 1),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "repetition_penalty": number(0, 2, above=True),
    "logit_bias": logit_bias,
    "min_tokens": integer(0, MAX_TOKENS),
    "ignore_eos": flag,
    "skip_special_tokens": flag,
    "include_stop_str_in_output": flag,
    "structured_outputs": structured_outputs,
    "response_format": response_format,
    "stream": flag,
    "stream_options": stream_options,
    "user": text(256),
    "metadata": metadata,
    **_UNUSED,
}
CHAT: dict[str, Check] = {
    **_SAMPLING,
    "messages": messages,
    "max_completion_tokens": integer(1, MAX_TOKENS),
    "logprobs": flag,
    "top_logprobs": integer(0, 20),
    "tools": tools,
    "tool_choice": tool_choice,
    "parallel_tool_calls": flag,
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "chat_template_kwargs": chat_template_kwargs,
    "modalities": items(1, one_of("text")),
}
COMPLETION: dict[str, Check] = {
    **_SAMPLING,
    "max_tokens": integer(0, MAX_TOKENS),
    "prompt": prompt,
    "logprobs": integer(0, 20),
    "echo": flag,
    "best_of": integer(1, 1),
    "suffix": text(0),
}
EMBEDDING: dict[str, Check] = {
    "model": text(200, empty=False),
    "input": embedding_input,
    "encoding_format": one_of("float", "base64"),
    "dimensions": integer(1, 65_536),
    "user": text(256),
}
_TABLES = {
    "chat": (CHAT, "messages"),
    "completion": (COMPLETION, "prompt"),
    "embedding": (EMBEDDING, "input"),
}
# Accepted, never passed on to an engine.
_NOT_PASSED_ON = frozenset(
    {*_UNUSED, "metadata", "best_of", "suffix", "modalities", "priority", "cache_salt"}
)


def checked(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """The request as it goes to an engine. Raises Rejected(400) naming the first parameter that is wrong.

    Null means "not given", as clients send it.
    """
    table, main = _TABLES[kind]
    for name in ("model", main):
        if body.get(name) is None:
            raise Rejected(
                400, "missing_required_parameter", f"You must provide the parameter '{name}'.", param=name
            )
    passed_on: dict[str, Any] = {}
    for name, value in body.items():
        check = table.get(name)
        if check is None:
            if name in ("priority", "cache_salt"):
                continue
            raise Rejected(
                400,
                "unknown_parameter",
                f"Unrecognized request argument supplied: {name[:100]}",
                param=name[:100],
            )
        if value is None:
            continue
        check(value, name)
        if name == "messages":
            value = _without_nulls(value)
        if name not in _NOT_PASSED_ON:
            passed_on[name] = value
    _together(passed_on)
    return passed_on


def priority_of(body: dict[str, Any]) -> int:
    """What the client wishes for, bounded; it counts only where the tenant's plan allows it. 0 without a number."""
    wished = body.get("priority")
    if isinstance(wished, bool) or not isinstance(wished, int):
        return 0
    return max(-MAX_PRIORITY, min(MAX_PRIORITY, wished))


def tags_of(body: dict[str, Any]) -> dict[str, str]:
    """The request's `metadata`, after `checked`."""
    return dict(body.get("metadata") or {})


def _together(body: dict[str, Any]) -> None:
    """Rules over several parameters."""
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    if most is not None and body.get("min_tokens", 0) > most:
        raise refuse("min_tokens", "must not be above the most tokens that may be generated.")
    if most == 0 and not body.get("echo"):
        raise refuse("max_tokens", "may be 0 only when 'echo' is true.")
    if "stream_options" in body and not body.get("stream"):
        raise refuse("stream_options", "is only allowed when 'stream' is true.")
    body.get("stream_options", {}).pop("include_obfuscation", None)
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise refuse("top_logprobs", "is only allowed when 'logprobs' is true.")
    if isinstance(body.get("tool_choice"), dict | str) and body["tool_choice"] not in ("none", "auto"):
        names = {tool["function"]["name"] for tool in body.get("tools", ())}
        if not names:
            raise refuse("tool_choice", "is only allowed when 'tools' are given.")
        if isinstance(body["tool_choice"], dict) and body["tool_choice"]["function"]["name"] not in names:
            raise refuse("tool_choice", "names a function that is not among 'tools'.")
