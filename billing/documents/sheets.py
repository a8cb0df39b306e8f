"""XLSX as a stream: a workbook of any number of rows that begins to arrive at once and takes constant memory.

Spreadsheet libraries collect a workbook, on disk at least, before its first byte can leave; at ten million rows
that is minutes of silence on the connection. The format is a ZIP of XML: rows are written as they come, text stands
in its cells, and the list of sheets goes last.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

ROWS_PER_SHEET = 1_048_576  # the format's limit, the heading included
MAX_CELL_LENGTH = 32_767
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Numbers of more digits than a double holds would change: they are written as text.
_MAX_EXACT = 10**15


class _Tray:
    """A file that cannot be searched: what is written is taken away by the reader."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep until taken."""
        self.parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def take(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self.parts)
        self.parts.clear()
        return data


def xlsx(
    heading: Sequence[str],
    pages: Iterable[Sequence[Sequence[Any]]],
    *,
    rows_per_sheet: int = ROWS_PER_SHEET,
) -> Iterator[bytes]:
    """A workbook of `pages` of rows below `heading`, in as many sheets as it takes, piece by piece."""
    tray = _Tray()
    sheets = 0
    with zipfile.ZipFile(tray, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        rows = (row for page in pages for row in page)
        following = next(rows, None)
        while sheets == 0 or following is not None:
            sheets += 1
            with archive.open(f"xl/worksheets/sheet{sheets}.xml", "w", force_zip64=True) as sheet:
                sheet.write(f'{_DECLARATION}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
                sheet.write(_row(heading))
                buffered: list[bytes] = []
                written = 1
                while following is not None and written < rows_per_sheet:
                    buffered.append(_row(following))
                    written += 1
                    if len(buffered) == 1000:
                        sheet.write(b"".join(buffered))
                        buffered.clear()
                        yield tray.take()
                    following = next(rows, None)
                sheet.write(b"".join(buffered))
                sheet.write(b"</sheetData></worksheet>")
            yield tray.take()
        for name, text in _frame(sheets).items():
            archive.writestr(name, _DECLARATION + text)
    yield tray.take()


def _row(cells: Sequence[Any]) -> bytes:
    return f"<row>{''.join(map(_cell, cells))}</row>".encode()


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "<c/>"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_EXACT:
        return f"<c><v>{value}</v></c>"
    # Text that stands in a cell of this kind is never taken for a formula.
    text = escape(_FORBIDDEN.sub("\ufffd", str(value)[:MAX_CELL_LENGTH]))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _frame(sheets: int) -> dict[str, str]:
    """The parts of the package beside its sheets."""
    numbers = range(1, sheets + 1)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        for number in numbers
    )
    listed = "".join(f'<sheet name="{number}" sheetId="{number}" r:id="rId{number}"/>' for number in numbers)
    relations = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in numbers
    )
    return {
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{relations}</Relationships>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1"'
        f' Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml"'
        ' ContentType="application/xml"/><Override PartName="/xl/workbook.xml"'
        f' ContentType="{_TYPE}.sheet.main+xml"/>{overrides}</Types>',
    }
