"""Scripts for Valkey that are put together out of a shared library of functions."""

from __future__ import annotations

import re

_FUNCTION = re.compile(
    r"^local function (\w+)\((?:[^\n]* end|[^\n]*\n(?:(?!end$)[^\n]*\n)*end)\n", re.MULTILINE
)
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)


def linked(library: str, body: str) -> str:
    """The script `body` behind what it needs of `library`: every plain statement, and the functions that it names.

    A script's functions are made anew on each call, which costs some microseconds each where other processes have
    used the processor's caches meanwhile. A function of the library begins with `local function` in the first
    column, and ends on its own line or with `end` in the first column.
    """
    functions = {found[1]: found[0] for found in _FUNCTION.finditer(library)}
    needed: set[str] = set()
    todo = [_FUNCTION.sub("", library) + body]
    while todo:
        words = set(re.findall(r"\w+", todo.pop()))
        for name in words & functions.keys() - needed:
            needed.add(name)
            todo.append(functions[name])
    text = _FUNCTION.sub(lambda found: found[0] if found[1] in needed else "", library)
    return _COMMENT.sub("", text) + body
