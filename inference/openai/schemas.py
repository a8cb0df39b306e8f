"""Bounds on JSON schemas and patterns that clients send: what compiles grammars must stay small (CVE-2025-29770)."""

from __future__ import annotations

from typing import Any

import msgspec

from inference.gateway.errors import Rejected

MAX_BYTES = 64 * 1024
MAX_DEPTH = 24
MAX_NODES = 4_000
MAX_PATTERN = 512
MAX_REPEAT = 4_096
_SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")


def _refuse(param: str, message: str) -> Rejected:
    return Rejected(400, "invalid_json_schema", f"Invalid '{param}': {message}", param=param)


def check(schema: Any, param: str) -> None:
    """Raises Rejected(400) unless `schema` is an object of bounded size, depth, repeats, patterns and references."""
    if not isinstance(schema, dict):
        raise _refuse(param, "must be a JSON schema (an object).")
    if len(msgspec.json.encode(schema)) > MAX_BYTES:
        raise _refuse(param, f"must be at most {MAX_BYTES // 1024} KiB.")
    nodes = 0
    todo: list[tuple[Any, int]] = [(schema, 1)]
    while todo:
        node, depth = todo.pop()
        nodes += 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise _refuse(param, f"must have at most {MAX_DEPTH} levels and {MAX_NODES} values.")
        if isinstance(node, list):
            todo.extend((item, depth + 1) for item in node)
        elif isinstance(node, dict):
            _check_node(node, schema, param)
            todo.extend((item, depth + 1) for item in node.values())


def _check_node(node: dict[str, Any], root: dict[str, Any], param: str) -> None:
    for name in _SIZES:
        size = node.get(name)
        if isinstance(size, int) and not 0 <= size <= MAX_REPEAT:
            raise _refuse(param, f"{name} must be from 0 to {MAX_REPEAT}.")
    if isinstance(node.get("pattern"), str):
        check_pattern(node["pattern"], f"{param}.pattern")
    if isinstance(node.get("$ref"), str):
        _check_reference(node, root, param)


def _check_reference(node: Any, root: dict[str, Any], param: str) -> None:
    """Follow a chain of references; one that never leaves itself would be expanded for ever."""
    seen: set[str] = set()
    while isinstance(node, dict) and isinstance(node.get("$ref"), str):
        reference: str = node["$ref"]
        if reference in seen:
            raise _refuse(param, f"$ref {reference[:100]} leads to itself.")
        seen.add(reference)
        if reference != "#" and not reference.startswith("#/"):
            raise _refuse(param, "$ref must point into the schema itself (#/…).")
        node = root
        for step in reference.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            node = node.get(step) if isinstance(node, dict) else None
        if node is None:
            raise _refuse(param, f"$ref {reference[:100]} points nowhere.")


def check_pattern(pattern: Any, param: str) -> None:
    """Raises Rejected(400) for a regular expression that is long or repeats without measure."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise _refuse(param, f"must be a regular expression of at most {MAX_PATTERN} characters.")
    for count in _counts(pattern):
        if count > MAX_REPEAT:
            raise _refuse(param, f"may repeat at most {MAX_REPEAT} times.")


def _counts(pattern: str) -> list[int]:
    """The numbers in `{m,n}` of a pattern."""
    counts: list[int] = []
    for piece in pattern.split("{")[1:]:
        inside = piece.split("}")[0]
        counts.extend(int(part) for part in inside.split(",") if part.isascii() and part.isdigit())
    return counts
