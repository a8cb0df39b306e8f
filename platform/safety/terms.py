"""Words of a list: read from what people upload, cleaned, and stored small. Pure."""

from __future__ import annotations

import csv
import io
import unicodedata
import zlib
from collections.abc import Iterable, Iterator

from django.utils.translation import gettext as _

from core.errors import InvalidInput

MAX_TERM_LENGTH = 128  # characters
MAX_TERMS = 100_000  # of one list
MAX_UPLOAD_BYTES = 16 * 1024 * 1024
_MOST_TOLD = 10  # wrong lines that an error names
# The most that 100,000 words of 128 characters can take: what is larger was not written by `pack`.
_MAX_UNPACKED = MAX_TERMS * (MAX_TERM_LENGTH * 4 + 1)


def clean_term(text: str) -> str:
    """The word as it is kept: composed (NFC), without spaces around it. Raises ValueError saying what is wrong."""
    term = unicodedata.normalize("NFC", text).strip()
    if not term:
        raise ValueError(_("The word is empty."))
    if len(term) > MAX_TERM_LENGTH:
        raise ValueError(_("The word is longer than %(limit)d characters.") % {"limit": MAX_TERM_LENGTH})
    kinds = {unicodedata.category(letter)[0] for letter in term}
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in term):
        raise ValueError(_("The word holds control characters."))
    if kinds.isdisjoint("LNS"):
        raise ValueError(_("The word holds no letter, digit or symbol."))
    return term


def clean_terms(given: Iterable[str], *, field: str, limit: int = MAX_TERMS) -> tuple[str, ...]:
    """Words out of a request's body, each once, sorted. Raises InvalidInput that names the place of a wrong one."""
    found: set[str] = set()
    for position, text in enumerate(given, start=1):
        try:
            found.add(clean_term(text))
        except ValueError as error:
            raise InvalidInput(
                _("Word %(position)d: %(problem)s") % {"position": position, "problem": error}, field=field
            ) from None
    _refuse_too_many(len(found), limit, field)
    return tuple(sorted(found))


def read_file(raw: bytes, *, is_csv: bool, field: str = "file") -> tuple[str, ...]:
    """Words out of a file, each once, sorted: UTF-8, one a line; of CSV the column `term`, or else the first.

    Empty lines are passed over. Raises InvalidInput that names up to ten wrong lines. 100,000 words take half a second.
    """
    if len(raw) > MAX_UPLOAD_BYTES:
        raise InvalidInput(
            _("The file is larger than %(limit)d bytes.") % {"limit": MAX_UPLOAD_BYTES}, field=field
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            _("Line %(line)d: this is not UTF-8.") % {"line": line}, field=field, code="not_utf8"
        ) from None
    found: set[str] = set()
    wrong: list[str] = []
    for line, word in _rows(text, field) if is_csv else enumerate(text.splitlines(), start=1):
        if not word.strip():
            continue
        try:
            found.add(clean_term(word))
        except ValueError as error:
            wrong.append(_("Line %(line)d: %(problem)s") % {"line": line, "problem": error})
            if len(wrong) == _MOST_TOLD:
                break
        _refuse_too_many(len(found), MAX_TERMS, field)
    if wrong:
        raise InvalidInput(" ".join(wrong), field=field, code="invalid_terms")
    return tuple(sorted(found))


def _rows(text: str, field: str) -> Iterator[tuple[int, str]]:
    """(line, word) of a CSV file."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    column = 0
    try:
        for index, row in enumerate(reader):
            names = [cell.strip().lower() for cell in row]
            if index == 0 and "term" in names:
                column = names.index("term")
            elif len(row) > column:
                yield reader.line_num, row[column]
    except csv.Error:
        raise InvalidInput(
            _("Line %(line)d: this is not CSV.") % {"line": reader.line_num}, field=field, code="not_csv"
        ) from None


def _refuse_too_many(count: int, limit: int, field: str) -> None:
    if count > limit:
        raise InvalidInput(_("There may be at most %(limit)d words.") % {"limit": limit}, field=field)


def pack(terms: Iterable[str]) -> bytes:
    """Words as they are stored: one a line, compressed. 100,000 Chinese and English words take about 0.5 MB."""
    return zlib.compress("\n".join(terms).encode(), 6)


def unpack(content: bytes | memoryview) -> tuple[str, ...]:
    """The words again. Raises ValueError for what `pack` has not written."""
    if not content:
        return ()
    machine = zlib.decompressobj()
    try:
        text = machine.decompress(bytes(content), _MAX_UNPACKED)
    except zlib.error as error:
        raise ValueError("the words of the list cannot be read") from error
    if machine.unconsumed_tail or not machine.eof:
        raise ValueError("the words of the list cannot be read")
    return tuple(text.decode().split("\n")) if text else ()
