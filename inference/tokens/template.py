"""Chat templates as transformers compiles them, and the shape of messages that vLLM gives to them.

SECURITY: templates come with models. They run in Jinja's immutable sandbox, and `counting` runs only those of the
platform's own models: a sandbox keeps a template from reading secrets, not from looping for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

ContentFormat = Literal["string", "openai"]


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`: marks for training; the text inside is rendered as it stands."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_as_it_stands")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _as_it_stands(self, caller: Any) -> str:
        return str(caller())


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)  # noqa: DTZ005 - local time, as the engine writes it


def environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up (transformers.utils.chat_template_utils, version 5)."""
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(  # nosec - text for a tokenizer, never HTML
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = _tojson
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = _strftime_now
    return made


class ChatTemplate:
    """One compiled template, and how it wants content: as text, or as OpenAI's list of parts."""

    def __init__(self, source: str) -> None:
        made = environment()
        self.source = source
        self._template = made.from_string(source)
        self._knows_developer = '"developer"' in source or "'developer'" in source
        self.content_format: ContentFormat = content_format(made.parse(source))

    def render(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        """The prompt's text. Raises jinja2.TemplateError where the template refuses the messages."""
        if not self._knows_developer and any(message["role"] == "developer" for message in messages):
            messages = _merge_system([_as_system(message) for message in messages])
        return self._template.render(messages=messages, **variables)


def _as_system(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] != "developer":
        return message
    return {**{name: value for name, value in message.items() if name != "tools"}, "role": "system"}


def _merge_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All system messages as one, in front, unless there is only one and it is the first."""
    places = [place for place, message in enumerate(messages) if message["role"] == "system"]
    if places == [0]:
        return messages
    contents = []
    for place in places:
        content = messages[place].get("content", "")
        if isinstance(content, list):
            content = "\n".join(part if isinstance(part, str) else part["text"] for part in content)
        if content:
            contents.append(content)
    others = [message for message in messages if message["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(contents)}, *others]


# --- How a template wants content (as vllm.renderers.hf tells it: does it loop over a message's content?)


def content_format(root: jinja2.nodes.Template) -> ContentFormat:
    """`openai` when the template loops over the parts of a message's content, in place or in a macro."""
    try:
        return "openai" if next(_loops_over_content(root), None) is not None else "string"
    except _Unclear:
        return "string"


class _Unclear(Exception):
    """The template assigns or loops in a way that cannot be followed by name."""


def _name(node: jinja2.nodes.Node) -> str:
    if not isinstance(node, jinja2.nodes.Name):
        raise _Unclear
    return node.name


def _reads(node: Any, variable: str, key: str | None = None) -> bool:
    """Whether `node` is the variable (or its `key`), also through filters, tests and slices."""
    if isinstance(node, jinja2.nodes.Filter | jinja2.nodes.Test):
        return node.node is not None and _reads(node.node, variable, key)
    if isinstance(node, jinja2.nodes.Getitem) and isinstance(node.arg, jinja2.nodes.Slice):
        return _reads(node.node, variable, key)
    if key is None:
        return isinstance(node, jinja2.nodes.Name) and node.ctx == "load" and node.name == variable
    if isinstance(node, jinja2.nodes.Getitem):
        is_key = isinstance(node.arg, jinja2.nodes.Const) and node.arg.value == key
        return is_key and _reads_plainly(node.node, variable)
    return isinstance(node, jinja2.nodes.Getattr) and node.attr == key and _reads_plainly(node.node, variable)


def _reads_plainly(node: Any, variable: str) -> bool:
    return isinstance(node, jinja2.nodes.Name) and node.ctx == "load" and node.name == variable


def _message_names(root: jinja2.nodes.Template) -> list[str]:
    """Variables that stand for one message: targets of loops over `messages` or what was made of it."""
    lists, seen = ["messages"], {"messages"}
    for name in lists:  # grows while it is walked
        for assignment in root.find_all(jinja2.nodes.Assign):
            if _reads(assignment.node, name) and (target := _name(assignment.target)) not in seen:
                seen.add(target)
                lists.append(target)
    return [
        _name(loop.target)
        for loop in root.find_all(jinja2.nodes.For)
        if any(_reads(loop.iter, name) for name in lists)
    ]


def _content_parameters(
    root: jinja2.nodes.Template, macro: jinja2.nodes.Macro, messages: list[str]
) -> set[str]:
    """Parameters of a macro that are somewhere given a message's content."""
    found: set[str] = set()
    names = [argument.name for argument in macro.args]
    for call in root.find_all(jinja2.nodes.Call):
        if not isinstance(call.node, jinja2.nodes.Name) or call.node.name != macro.name:
            continue
        given = list(zip(names, call.args, strict=False))
        given += [(keyword.key, keyword.value) for keyword in call.kwargs if keyword.key in names]
        for name, value in given:
            if any(_reads(value, message, "content") for message in messages):
                found.add(name)
    return found


def _loops_over_content(root: jinja2.nodes.Template) -> Iterator[jinja2.nodes.For]:
    messages = _message_names(root)
    parameters: dict[int, set[str]] = {}
    for macro in root.find_all(jinja2.nodes.Macro):
        given = _content_parameters(root, macro, messages)
        for loop in macro.find_all(jinja2.nodes.For):
            parameters[id(loop)] = parameters.get(id(loop), set()) | given
    for loop in root.find_all(jinja2.nodes.For):
        iterated = loop.iter.name if isinstance(loop.iter, jinja2.nodes.Name) else ""
        direct = any(_reads(loop.iter, message, "content") for message in messages)
        inside = id(loop) in parameters
        if direct or (inside and iterated in parameters[id(loop)]) or (not inside and iterated == "content"):
            _name(loop.target)
            yield loop
