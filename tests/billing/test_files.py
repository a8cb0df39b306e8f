"""Files: exports that are whole, harmless and take constant memory; invoices on paper in both languages."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.db import connection

from api.streams import Streamed
from billing.documents import invoices as documents
from billing.documents.cells import csv_lines, harmless
from billing.documents.sheets import xlsx
from billing.documents.usage import COLUMNS, export
from billing.invoicing import Line, finish
from billing.models import Invoice
from billing.selectors import pages
from billing.selectors.pages import Wanted
from core.errors import Unavailable
from core.scoping import current_scope
from tenants.models import Tenant
from tests.billing.settled import OCTOBER, record, settle

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def rows_of(content: bytes) -> list[list[str]]:
    """The cells of a streamed workbook, all sheets one after the other; every part must be well-formed."""
    found = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            ElementTree.fromstring(archive.read(name))
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        for number, _sheet in enumerate(book.iter(f"{MAIN}sheet"), start=1):
            sheet = ElementTree.fromstring(archive.read(f"xl/worksheets/sheet{number}.xml"))
            for row in sheet.iter(f"{MAIN}row"):
                found.append(["".join(cell.itertext()) for cell in row])
    return found


# --- Cells and sheets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1+1", "%0A=1"],
)
def test_text_that_a_spreadsheet_would_run_is_made_text(text: str) -> None:
    assert harmless(text) == "'" + text
    (row,) = csv.reader(io.StringIO(csv_lines([[text, 1]])))
    assert row[0].startswith("'")


@pytest.mark.parametrize("value", [-5, "-5", "-0.000000001", "plain", "a=b", None, 0, ""])
def test_numbers_and_ordinary_text_stay_as_they_are(value: Any) -> None:
    assert harmless(value) == value


def test_a_workbook_goes_on_in_another_sheet_when_one_is_full() -> None:
    page = [[number, f"<{number}>&\x01\ud800"] for number in range(10)]
    rows = rows_of(b"".join(xlsx(["n", "text"], [page], rows_per_sheet=5)))
    assert [row[0] for row in rows] == [
        *("n", "0", "1", "2", "3"),
        *("n", "4", "5", "6", "7"),
        *("n", "8", "9"),
    ]
    assert rows[1][1] == "<0>&\ufffd\ufffd"
    assert rows_of(b"".join(xlsx(["n"], []))) == [["n"]]
    assert rows_of(b"".join(xlsx(["n"], [[[10**18]]])))[1] == [str(10**18)]  # not through a double


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    def most(count: int) -> int:
        row = ["some text", 12345, "more text"] * 5
        tracemalloc.start()
        for _piece in xlsx(["a"] * 15, ([row] * 500 for _page in range(count))):
            pass
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    most(1)
    assert most(40) < most(4) * 1.5 + 500_000


# --- Exports ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestExport:
    """The records of a span, as files."""

    @pytest.fixture
    def wanted(self, acme: Tenant, globex: Tenant, monkeypatch: pytest.MonkeyPatch) -> Wanted:
        """Seven records of Acme's, some of the same moment, in pages of two; one of Globex's."""
        monkeypatch.setattr(pages.usage_pages, "__kwdefaults__", {"size": 2})
        settle(
            acme,
            *(
                record(
                    acme,
                    f"r{number}",
                    started_at=OCTOBER + timedelta(seconds=number // 3),
                    end_user="=cmd()",
                    tags={"team": "红"},
                )
                for number in range(7)
            ),
            record(acme, "after", started_at=OCTOBER + timedelta(days=31)),
        )
        settle(globex, record(globex, "foreign"))
        return Wanted(acme.pk, OCTOBER, OCTOBER + timedelta(days=31))

    def test_every_record_is_there_once_in_every_form(self, wanted: Wanted) -> None:
        files = {form: b"".join(export(wanted, form=form)) for form in ("csv", "jsonl", "xlsx")}
        table = list(csv.DictReader(io.StringIO(files["csv"].decode())))
        lines = [json.loads(line) for line in files["jsonl"].decode().splitlines()]
        sheet = rows_of(files["xlsx"])
        names = [f"r{number}" for number in range(7)]
        for found in (
            [row["request_id"] for row in table],
            [row["request_id"] for row in lines],
            [row[2] for row in sheet[1:]],
        ):
            assert sorted(found) == names
        assert list(table[0]) == list(lines[0]) == sheet[0] == list(COLUMNS)
        assert table[0]["end_user"] == "'=cmd()"
        assert lines[0]["end_user"] == "=cmd()"
        assert lines[0]["tags"] == {"team": "红"}
        assert (table[0]["charge"], lines[0]["charge_nano"]) == ("0.001", 1_000_000)

    def test_no_scope_stays_open_while_a_page_is_read(self, wanted: Wanted) -> None:
        before = current_scope()
        for _piece in export(wanted, form="csv"):
            assert current_scope() == before
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM billing_usagerecord")
                assert cursor.fetchone() == (0,)

    def test_staff_get_all_tenants(self, wanted: Wanted) -> None:
        everybody = Wanted(None, wanted.since, wanted.until)
        lines = b"".join(export(everybody, form="jsonl")).decode().splitlines()
        assert "foreign" in {json.loads(line)["request_id"] for line in lines}


def test_a_stream_is_read_piece_by_piece_by_both_kinds_of_server() -> None:
    made: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            made.append(number)
            yield str(number).encode()

    response = Streamed(pieces(), filename="a.csv", content_type="text/csv")
    reading = iter(response)
    assert (next(reading), made) == (b"0", [0])

    async def read() -> list[tuple[bytes, int]]:
        made.clear()
        answer = Streamed(pieces(), filename="a.csv", content_type="text/csv")
        return [(piece, len(made)) async for piece in answer]

    assert asyncio.run(read()) == [(b"0", 1), (b"1", 2), (b"2", 3)]


# --- Invoices ---------------------------------------------------------------------------------------------------


def an_invoice(**changes: Any) -> tuple[Invoice, list[Line]]:
    """Not stored: usage, something late, a correction whose reason is Chinese."""
    month = date(2026, 10, 1)
    lines = [
        Line(0, "usage", month, 12_345_678_912, 0, "atrium-starter", "output", 98_765_432),
        Line(0, "usage", month, 5_000_000, 0, "=model", "gpu", 123_456_789_012),
        Line(0, "late", date(2026, 9, 1), 5_000_000, 0, "", "whole"),
        Line(0, "correction", month, -1_005_000_000, 0, note="价格录入错误"),
    ]
    done, exact, total = finish(lines, "CNY")
    tenant = Tenant(name="Acme <b>科技</b>", slug="acme")
    fields = {"month": month, "currency": "CNY", "state": "closed", "number": "INV-2026-000042", **changes}
    return Invoice(tenant=tenant, total_nano=exact, total_minor=total, **fields), done


def text_of(pdf: bytes) -> str:
    """The text of a PDF through its fonts' maps to Unicode, in the order of drawing."""
    streams = [
        zlib.decompress(body) if body[:1] == b"\x78" else body
        for body in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    ]
    letters: dict[str, dict[int, str]] = {}
    maps = [body.decode("latin-1") for body in streams if b"beginbfchar" in body or b"beginbfrange" in body]
    merged: dict[int, str] = {}
    for each in maps:
        for code, value in re.findall(r"<([0-9a-fA-F]{4})> <([0-9a-fA-F]+)>", each):
            merged.setdefault(int(code, 16), bytes.fromhex(value).decode("utf-16-be"))
    assert letters == {}
    return "".join(merged.values())


@pytest.mark.slow
@pytest.mark.parametrize(("language", "expected"), [("en", "October"), ("zh-hans", "年月")])
def test_an_invoice_is_drawn_in_the_readers_language(language: str, expected: str) -> None:
    invoice, lines = an_invoice()
    try:
        pdf = documents.invoice_file(invoice, lines, form="pdf", language=language)
    except Unavailable as error:  # a machine without Pango or Chinese font says so, in one sentence
        pytest.skip(error.message)
    assert pdf.startswith(b"%PDF-")
    drawn = text_of(pdf)
    for letter in {*expected, *"价格录入错误", *"INV-2026-000042"}:
        assert letter in drawn, letter


@pytest.mark.slow
def test_nothing_that_stands_in_an_invoice_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = documents.render_to_string

    def with_addresses(template: str, context: Any) -> str:
        page = real(template, context)
        assert "<b>科技" not in page  # names are text
        return page.replace(
            "</body>",
            '<img src="http://127.0.0.1:9/x.png"><img src="file:///etc/hostname">'
            '<link rel="stylesheet" href="file:///etc/passwd"></body>',
        )

    import weasyprint

    fetch = weasyprint.URLFetcher.fetch
    monkeypatch.setattr(documents, "render_to_string", with_addresses)
    monkeypatch.setattr(
        weasyprint.URLFetcher,
        "fetch",
        lambda self, url, headers=None: opened.append(url) or fetch(self, url, headers),
    )
    invoice, lines = an_invoice()
    documents.invoice_file(invoice, lines, form="pdf", language="en")
    assert opened
    assert {url.rsplit("/", 1)[1].split("-")[0] for url in opened} == {"Inter"}


@pytest.mark.slow
def test_a_machine_without_a_chinese_font_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_has_chinese_font", lambda: False)
    invoice, lines = an_invoice()
    with pytest.raises(Unavailable, match="fonts-noto-cjk"):
        documents.invoice_file(invoice, lines, form="pdf", language="en")


def test_a_machine_without_pango_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    invoice, lines = an_invoice()
    with pytest.raises(Unavailable, match="Pango"):
        documents.invoice_file(invoice, lines, form="pdf", language="en")


def test_tables_of_an_invoice_hold_rounded_and_exact_amounts() -> None:
    invoice, lines = an_invoice()
    text = documents.invoice_file(invoice, lines, form="csv", language="en").decode("utf-8-sig")
    table = list(csv.reader(io.StringIO(text)))
    assert table[1][1:] == ["atrium-starter: Output tokens", "98,765,432", "12.35", "12.345678912"]
    assert table[2][1] == "'=model: GPU seconds"
    assert table[-1][3:] == [f"{invoice.total_minor / 100:.2f}", "11.350678912"]
    assert sum(round(float(row[3]) * 100) for row in table[1:-1]) == invoice.total_minor
    book = documents.invoice_file(invoice, lines, form="xlsx", language="en")
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet  # no formula
