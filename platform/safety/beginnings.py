"""From the tree of a pattern, the pattern of everything that a match may begin with.

`closure` matches every string that can be continued to a longer one which matches; with `complete` also those that
match already, for patterns that end in an assertion about what comes next (`\\b`, `$`), which must wait for one more
character. Assertions inside are kept: where a beginning goes on behind them, what they look at is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import re2

from safety.syntax import Assertion, Atom, Choice, Node, Repeat, Sequence_, source, times


def longest(node: Node) -> int | None:
    """Characters of the longest match; None when there is no bound."""
    if isinstance(node, Atom):
        return 1
    if isinstance(node, Assertion):
        return 0
    if isinstance(node, Repeat):
        inner = longest(node.item)
        if inner == 0:
            return 0
        return None if inner is None or node.most is None else inner * node.most
    lengths = [longest(item) for item in node.items]
    if any(length is None for length in lengths):
        return None
    known = [length for length in lengths if length is not None]
    return sum(known) if isinstance(node, Sequence_) else max(known)


def may_be_empty(node: Node) -> bool:
    """Whether a match may take no character."""
    if isinstance(node, Atom):
        return False
    if isinstance(node, Assertion):
        return True
    if isinstance(node, Repeat):
        return node.least == 0 or may_be_empty(node.item)
    return (all if isinstance(node, Sequence_) else any)(may_be_empty(item) for item in node.items)


def looks_ahead(node: Node, *, leading: bool = True) -> bool:
    """Whether a match may depend on what comes after it: an assertion that is not at the very beginning."""
    if isinstance(node, Assertion):
        return not leading
    if isinstance(node, Atom):
        return False
    if isinstance(node, Repeat):
        return looks_ahead(node.item, leading=leading and node.most == 1)
    if isinstance(node, Choice):
        return any(looks_ahead(item, leading=leading) for item in node.items)
    for item in node.items:
        if looks_ahead(item, leading=leading):
            return True
        leading = leading and isinstance(item, Assertion)
    return False


def beginnings(node: Node) -> list[str]:
    """Patterns of what is not empty and a match may begin with, complete matches included."""
    if isinstance(node, Atom):
        return [node.source]
    if isinstance(node, Assertion):
        return []
    if isinstance(node, Choice):
        return [pattern for item in node.items for pattern in beginnings(item)]
    if isinstance(node, Repeat):
        if node.most == 0:
            return []
        before = _repeated(node.item, None if node.most is None else node.most - 1)
        inner = _either(beginnings(node.item))
        return [before + inner] if inner else []
    return _sequence(node.items)


def _sequence(items: tuple[Node, ...]) -> list[str]:
    """Beginnings of a sequence. Halved, so that brackets nest by the logarithm of its length."""
    if len(items) < 2:
        return beginnings(items[0]) if items else []
    left, right = items[: len(items) // 2], items[len(items) // 2 :]
    after = _either(_sequence(right))
    return [*_sequence(left), *([source(Sequence_(left)) + after] if after else [])]


def closure(node: Node, *, complete: bool) -> str | None:
    """The pattern of what is not empty and can become a longer match; None when nothing can.

    With `complete` also of complete matches. It has at most twice the pattern's size for each level of brackets.
    """
    found = beginnings(node) if complete else _extensible(node)
    return _either(found) or None


def _extensible(node: Node) -> list[str]:
    """Patterns of what is not empty and something may follow that makes it a match."""
    if isinstance(node, Atom | Assertion):
        return []
    if isinstance(node, Choice):
        return [pattern for item in node.items for pattern in _extensible(item)]
    if isinstance(node, Repeat):
        return _extensible_repeat(node)
    items = node.items
    while items and longest(items[-1]) == 0:
        items = items[:-1]
    return _extensible_sequence(items)


def _extensible_sequence(items: tuple[Node, ...]) -> list[str]:
    """The same of a sequence whose last item is more than an assertion."""
    if len(items) < 2:
        return _extensible(items[0]) if items else []
    left, right = items[: len(items) // 2], items[len(items) // 2 :]
    after = _either(_extensible_sequence(right))
    return [*_sequence(left), *([source(Sequence_(left)) + after] if after else [])]


def _extensible_repeat(node: Repeat) -> list[str]:
    inner = _either(beginnings(node.item))
    if node.most == 0 or not inner:
        return []
    if node.most is None:
        return [_repeated(node.item, None) + inner]
    found = [_repeated(node.item, node.most - 2) + inner] if node.most > 1 else []
    last = _either(_extensible(node.item))
    if last:
        found.append(_repeated(node.item, node.most - 1) + last)
    return found


def _repeated(item: Node, most: int | None) -> str:
    """The item any number of times, up to `most`."""
    if most == 0:
        return ""
    return f"(?:{source(item)}){times(0, most)}"


def _either(patterns: Sequence[str]) -> str:
    return f"(?:{'|'.join(patterns)})" if patterns else ""


# Three characters with little in common: what can be each of them is in every text.
_ORDINARY: Final = ("a", " ", "中")


def begins_anywhere(node: Node) -> bool:
    """Whether the pattern begins with an endless repetition of about any character, as `.*` does."""
    if isinstance(node, Repeat):
        if node.most is None or node.most > 16:
            inner = re2.compile(f"(?:{source(node.item)})", _quiet())
            return all(inner.fullmatch(letter) for letter in _ORDINARY)
        return begins_anywhere(node.item)
    if isinstance(node, Choice):
        return any(begins_anywhere(item) for item in node.items)
    if isinstance(node, Sequence_):
        for item in node.items:
            if begins_anywhere(item):
                return True
            if not may_be_empty(item):
                return False
    return False


def _quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


_LARGE: Final = 500


def without_large_counts(node: Node) -> Node:
    """The pattern with repetitions of 500 times and more made endless, and one of several equal ones in a row.

    A count is as many states as it is large, and counts in a row are all their combinations: over the body of a private
    key that costs seconds. Who uses it must bound the match in another way.
    """
    if isinstance(node, Repeat):
        most = None if node.most is not None and node.most >= _LARGE else node.most
        return Repeat(without_large_counts(node.item), node.least if node.least < _LARGE else 1, most)
    if isinstance(node, Choice):
        return Choice(tuple(without_large_counts(item) for item in node.items))
    if isinstance(node, Sequence_):
        items: list[Node] = []
        for item in map(without_large_counts, node.items):
            if not (
                items
                and items[-1] == item
                and isinstance(item, Repeat)
                and (item.least, item.most) == (0, None)
            ):
                items.append(item)
        return Sequence_(tuple(items))
    return node
