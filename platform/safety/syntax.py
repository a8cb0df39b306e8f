"""The syntax of RE2, taken apart into a tree, and written again.

Literals are written as `safety.normalise.narrow` leaves them, since that is the text that patterns read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from django.utils.translation import gettext as _

from safety.normalise import NARROW, narrow

MAX_SOURCE: Final = 2_000  # characters of a tenant's pattern
MAX_DEPTH: Final = 50
MAX_REPEAT: Final = 1_000  # RE2's own bound


class BadPattern(Exception):
    """A pattern that cannot be used; `message` says why, for the person who wrote it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Atom(NamedTuple):
    """One character of a set, in RE2's syntax."""

    source: str


class Assertion(NamedTuple):
    """A condition on a place: takes no character."""

    source: str


class Sequence_(NamedTuple):
    """One after the other."""

    items: tuple[Node, ...]


class Choice(NamedTuple):
    """One of them."""

    items: tuple[Node, ...]


class Repeat(NamedTuple):
    """At least `least` times, at most `most` times; without end when that is None."""

    item: Node
    least: int
    most: int | None


Node: TypeAlias = Atom | Assertion | Sequence_ | Choice | Repeat
EMPTY: Final = Sequence_(())


class Flags(NamedTuple):
    """What `(?ims)` switches on."""

    fold_case: bool = False
    many_lines: bool = False
    dot_all: bool = False


_SIMPLE_ESCAPES: Final = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_CLASS_ESCAPES: Final = "dDwWsS"
_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ")
_FLAGS: Final = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?([:)])")
_NAMED: Final = re.compile(r"\(\?P?<(\w{1,64})>")
_COUNT: Final = re.compile(r"\{(\d{1,5})(?:(,)(\d{1,5})?)?\}")
_PROPERTY: Final = re.compile(r"\\[pP](?:\{\^?\w{1,40}\}|\w)")
_POSIX: Final = re.compile(r"\[:\^?[a-z]{1,10}:\]")
_HEX: Final = re.compile(r"\\x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2}))")
_OCTAL: Final = re.compile(r"\\(0[0-7]{0,2}|[1-7][0-7]{1,2})")


def parse(pattern: str) -> Node:
    """The tree of a pattern. Raises BadPattern for what RE2 does not know, and for the little that it is not let do."""
    if len(pattern) > MAX_SOURCE:
        raise BadPattern(_("The pattern is longer than %(limit)d characters.") % {"limit": MAX_SOURCE})
    return _Parser(pattern).parse()


class _Parser:
    """Recursive descent over the pattern's text."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.place = 0
        self.depth = 0

    def parse(self) -> Node:
        node, _flags = self._choice(Flags())
        if self.place < len(self.source):
            raise self._error(_("There is a closing bracket too many."))
        return node

    def _error(self, message: str) -> BadPattern:
        return BadPattern(
            _("%(message)s (At character %(place)d.)") % {"message": message, "place": self.place + 1}
        )

    def _looking_at(self, text: str) -> bool:
        return self.source.startswith(text, self.place)

    def _choice(self, flags: Flags) -> tuple[Node, Flags]:
        """Alternatives, up to a closing bracket. Flags that are set inside hold until there."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._error(_("The brackets are nested too deeply."))
        branches: list[Node] = []
        while True:
            branch, flags = self._branch(flags)
            branches.append(branch)
            if not self._looking_at("|"):
                break
            self.place += 1
        self.depth -= 1
        return (branches[0] if len(branches) == 1 else Choice(tuple(branches))), flags

    def _branch(self, flags: Flags) -> tuple[Node, Flags]:
        items: list[Node] = []
        while self.place < len(self.source) and self.source[self.place] not in "|)":
            changed = self._bare_flags(flags)
            if changed is not None:
                flags = changed
            elif self._looking_at("\\Q"):
                items.extend(self._quoted(flags))
            else:
                items.append(self._one(flags))
            if self.place < len(self.source) and self.source[self.place] in "*+?{":
                self._repeat(items)
        return (items[0] if len(items) == 1 else Sequence_(tuple(items))), flags

    def _bare_flags(self, flags: Flags) -> Flags | None:
        found = _FLAGS.match(self.source, self.place)
        if found is None or found[3] != ")" or not (found[1] or found[2]):
            return None
        self.place = found.end()
        return _changed(flags, found[1], found[2] or "")

    def _quoted(self, flags: Flags) -> list[Node]:
        end = self.source.find("\\E", self.place + 2)
        text = self.source[self.place + 2 : end if end >= 0 else len(self.source)]
        self.place = end + 2 if end >= 0 else len(self.source)
        return [node for letter in text for node in _literal(ord(letter), flags)]

    def _repeat(self, items: list[Node]) -> None:
        sign = self.source[self.place]
        least, most, size = {"*": (0, None, 1), "+": (1, None, 1), "?": (0, 1, 1)}.get(sign, (0, 0, 0))
        if sign == "{":
            count = _COUNT.match(self.source, self.place)
            if count is None:  # RE2 takes a brace that counts nothing as itself
                items.extend(_literal(ord("{"), Flags()))
                self.place += 1
                return
            least = int(count[1])
            most = least if count[2] is None else int(count[3]) if count[3] else None
            size = len(count[0])
        if not items:
            raise self._error(_("There is nothing to repeat here."))
        if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise self._error(_("A repetition must be between 0 and %(most)d times.") % {"most": MAX_REPEAT})
        self.place += size
        if self._looking_at("?"):  # prefers fewer; of no meaning where the longest match counts
            self.place += 1
        elif self.place < len(self.source) and self.source[self.place] in "*+":
            raise self._error(_("There is nothing to repeat here."))
        items[-1] = Repeat(items[-1], least, most)

    def _one(self, flags: Flags) -> Node:
        sign = self.source[self.place]
        if sign == "(":
            return self._group(flags)
        if sign == "[":
            return self._set(flags)
        if sign == "\\":
            return self._escape(flags)
        if sign in "*+?":
            raise self._error(_("There is nothing to repeat here."))
        self.place += 1
        if sign == ".":
            return Atom("(?s:.)" if flags.dot_all else "(?-s:.)")
        if sign == "^":
            return Assertion("(?m:^)" if flags.many_lines else "\\A")
        if sign == "$":
            return Assertion("(?m:$)" if flags.many_lines else "\\z")
        return _as_one(_literal(ord(sign), flags))

    def _group(self, flags: Flags) -> Node:
        inside = flags
        named, switched = _NAMED.match(self.source, self.place), _FLAGS.match(self.source, self.place)
        if named is not None:
            self.place = named.end()
        elif switched is not None and switched[3] == ":":
            self.place = switched.end()
            inside = _changed(flags, switched[1], switched[2] or "")
        elif self._looking_at("(?"):
            raise self._error(_("Looking ahead or back, conditions and comments are not known to RE2."))
        else:
            self.place += 1
        node, _inside = self._choice(inside)
        if not self._looking_at(")"):
            raise self._error(_("A closing bracket is missing."))
        self.place += 1
        return node

    def _escape(self, flags: Flags) -> Node:
        source = self.source
        found = _PROPERTY.match(source, self.place)
        if found is not None:
            self.place = found.end()
            return Atom(_with_case(found[0], flags))
        letter = source[self.place + 1 : self.place + 2]
        if letter and letter in _CLASS_ESCAPES:
            self.place += 2
            return Atom("\\" + letter)
        if letter and letter in "AzbB":
            self.place += 2
            return Assertion("\\" + letter)
        return _as_one(_literal(self._code(), flags))

    def _code(self) -> int:
        """The code point of an escape, or of a plain character."""
        source = self.source
        if source[self.place] != "\\":
            self.place += 1
            return ord(source[self.place - 1])
        found = _HEX.match(source, self.place)
        octal = _OCTAL.match(source, self.place)
        letter = source[self.place + 1 : self.place + 2]
        if found is not None:
            self.place = found.end()
            code = int(found[1] or found[2], 16)
            if code > 0x10FFFF:
                raise self._error(_("There is no such character."))
            return code
        if octal is not None:
            self.place = octal.end()
            return int(octal[1], 8)
        self.place += 2
        if letter and letter in _SIMPLE_ESCAPES:
            return _SIMPLE_ESCAPES[letter]
        if letter and (letter in _PUNCTUATION or not letter.isascii()):
            return ord(letter)
        self.place -= 2
        raise self._error(_("RE2 does not know this escape."))

    def _set(self, flags: Flags) -> Node:
        """A set in square brackets, with the ASCII forms of everything in it."""
        start = self.place
        self.place += 1
        negated = self._looking_at("^")
        self.place += negated
        parts: list[str] = []
        while True:
            if self.place >= len(self.source):
                self.place = start
                raise self._error(_("A closing square bracket is missing."))
            if self._looking_at("]") and parts:
                break
            parts.append(self._set_item())
        self.place += 1
        body = "".join(parts)
        return Atom(_with_case(f"[{'^' if negated else ''}{body}]", flags))

    def _set_item(self) -> str:
        source = self.source
        found = _POSIX.match(source, self.place) or _PROPERTY.match(source, self.place)
        if found is not None:
            self.place = found.end()
            return found[0]
        if self._looking_at("\\") and source[self.place + 1 : self.place + 2] in (*_CLASS_ESCAPES,):
            self.place += 2
            return source[self.place - 2 : self.place]
        low = high = self._code()
        if self._looking_at("-") and source[self.place + 1 : self.place + 2] not in ("", "]"):
            self.place += 1
            high = self._code()
            if high < low:
                raise self._error(_("The range ends before it begins."))
        return _range(low, high)


def _changed(flags: Flags, on: str, off: str) -> Flags:
    values = [(value or sign in on) and sign not in off for sign, value in zip("ims", flags, strict=True)]
    return Flags(*values)


def _with_case(source: str, flags: Flags) -> str:
    return f"(?i:{source})" if flags.fold_case else source


def _character(code: int) -> str:
    return f"\\x{{{code:X}}}"


def _literal(code: int, flags: Flags) -> list[Node]:
    """A character as it is in narrow text: nothing when it cannot be seen."""
    if 0xD800 <= code <= 0xDFFF:
        code = 0xFFFD
    return [Atom(_with_case(_character(ord(letter)), flags)) for letter in narrow(chr(code))]


def _as_one(nodes: Sequence[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else Sequence_(tuple(nodes))


def _range(low: int, high: int) -> str:
    """Part of a set: the range, and the ASCII forms of what is in it."""
    if 0xD800 <= low <= high <= 0xDFFF:
        low = high = 0xFFFD
    body = _character(low) if low == high else f"{_character(low)}-{_character(high)}"
    if high < 0x80:
        return body
    if low == high:
        plain = NARROW[low]
        return _character(ord(plain)) if plain else body
    forms = {plain for code in range(low, high + 1) if code in _with_forms() and (plain := NARROW[code])}
    return body + "".join(_character(ord(plain)) for plain in sorted(forms))


_forms: set[int] = set()


def _with_forms() -> set[int]:
    """Code points that `narrow` writes as ASCII. Found once, in the planes that hold them."""
    if not _forms:
        for code in (
            *range(0x80, 0x3400),
            *range(0xFE00, 0x10000),
            *range(0x1D400, 0x1D800),
            *range(0x1F100, 0x1FC00),
        ):
            plain = NARROW[code]
            if plain is not None and plain != chr(code):
                _forms.add(code)
    return _forms


def source(node: Node) -> str:
    """The pattern of a tree, in RE2's syntax, without groups that capture."""
    if isinstance(node, Atom | Assertion):
        return node.source
    if isinstance(node, Sequence_):
        return "".join(
            f"(?:{source(item)})" if isinstance(item, Choice) else source(item) for item in node.items
        )
    if isinstance(node, Choice):
        return "|".join(source(item) for item in node.items)
    return f"(?:{source(node.item)}){times(node.least, node.most)}"


def times(least: int, most: int | None) -> str:
    """How often, in RE2's syntax."""
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return f"{{{least},{most}}}"
