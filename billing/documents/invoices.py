"""An invoice as PDF, CSV or XLSX, in the reader's language."""

from __future__ import annotations

import io
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from babel.dates import format_date
from babel.numbers import format_decimal
from django.conf import settings
from django.template.loader import render_to_string
from django.utils.translation import get_language, override, to_locale
from django.utils.translation import gettext as _

from billing.documents.cells import csv_lines, harmless
from billing.invoicing import Line
from billing.models import Component, Invoice, InvoiceState, LineKind
from billing.money import minor_text, plain, readable
from core.errors import Unavailable

CONTENT_TYPES = {
    "pdf": "application/pdf",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
FONTS = Path(settings.ROOT) / "static" / "vendor" / "inter"


def filename(invoice: Invoice, form: str) -> str:
    """What the file is called: the number, or month and currency of a draft."""
    name = invoice.number or f"draft-{invoice.month:%Y-%m}-{invoice.currency}"
    return f"{name}.{form}"


def invoice_file(invoice: Invoice, lines: list[Line], *, form: str, language: str) -> bytes:
    """The invoice as a file of `form` (pdf, csv, xlsx). Raises Unavailable where a PDF cannot be made here."""
    makers = {"pdf": _pdf, "csv": _csv, "xlsx": _xlsx}
    with override(language):
        return makers[form](invoice, lines)


def description(line: Line) -> str:
    """What the line is for, in the active language."""
    if line.kind == LineKind.USAGE:
        return _("%(model)s: %(component)s") % {
            "model": line.model,
            "component": Component(line.component).label,
        }
    if line.kind == LineKind.LATE:
        return _("Usage of %(month)s that came in later") % {"month": month_text(line.period)}
    if line.kind == LineKind.CORRECTION:
        return _("Correction: %(reason)s") % {"reason": line.note}
    return str(LineKind(line.kind).label)


def quantity_text(line: Line) -> str:
    """How much, in the unit of the component: GPU seconds and slot hours to three places."""
    if not line.quantity:
        return ""
    if line.component == Component.GPU:
        return _number(line.quantity, 1_000_000_000)
    if line.component == Component.SLOTS:
        return _number(line.quantity, 3_600_000)
    return _number(line.quantity, 1)


def month_text(month: Any) -> str:
    """A month in the reader's language, e.g. `November 2026`."""
    chinese = (get_language() or "").startswith("zh")
    return str(format_date(month, "y年M月" if chinese else "MMMM y", locale=_locale()))


def _number(quantity: int, per: int) -> str:
    whole, rest = divmod(abs(quantity), per)
    text = str(format_decimal(whole, locale=_locale()))
    if per > 1:
        text += f".{rest * 1000 // per:03d}"
    return f"-{text}" if quantity < 0 else text


def _locale() -> str:
    return to_locale(get_language() or "en")


def _rows(invoice: Invoice, lines: list[Line]) -> list[list[Any]]:
    return [
        [
            line.position,
            description(line),
            quantity_text(line),
            minor_text(line.amount_minor, invoice.currency),
            plain(line.exact_nano),
        ]
        for line in lines
    ]


def _heading(invoice: Invoice) -> list[str]:
    return [
        _("Line"),
        _("Description"),
        _("Quantity"),
        _("Amount (%(currency)s)") % {"currency": invoice.currency},
        _("Exact amount (%(currency)s)") % {"currency": invoice.currency},
    ]


def _total(invoice: Invoice) -> list[Any]:
    return [
        "",
        _("Total"),
        "",
        minor_text(invoice.total_minor, invoice.currency),
        plain(invoice.total_nano),
    ]


def _csv(invoice: Invoice, lines: list[Line]) -> bytes:
    # The mark lets spreadsheets read the text as what it is.
    return ("\ufeff" + csv_lines([_heading(invoice), *_rows(invoice, lines), _total(invoice)])).encode()


def _xlsx(invoice: Invoice, lines: list[Line]) -> bytes:
    import xlsxwriter

    file = io.BytesIO()
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(file, options) as book:
        bold = book.add_format({"bold": True})
        sheet = book.add_worksheet(filename(invoice, "")[:31].rstrip("."))
        sheet.set_column(0, 0, 8)
        sheet.set_column(1, 1, 60)
        sheet.set_column(2, 4, 22)
        sheet.write_row(0, 0, _heading(invoice), bold)
        for number, row in enumerate(_rows(invoice, lines), start=1):
            for column, cell in enumerate(row):
                # Amounts as text: a cell's number is a float and would lose digits.
                if isinstance(cell, int):
                    sheet.write_number(number, column, cell)
                else:
                    sheet.write_string(number, column, str(harmless(cell)))
        for column, cell in enumerate(_total(invoice)):
            sheet.write_string(len(lines) + 1, column, str(cell), bold)
    return file.getvalue()


def _pdf(invoice: Invoice, lines: list[Line]) -> bytes:
    weasyprint = _weasyprint()
    page = render_to_string("billing/invoice.html", _context(invoice, lines))
    if not _has_chinese_font() and any("\u2e80" <= letter <= "\uffef" for letter in page):
        raise Unavailable(
            _("No font with Chinese characters is installed here: install the package fonts-noto-cjk."),
            code="font_missing",
        )

    from weasyprint import URLFetcher

    class OwnFonts(URLFetcher):
        """Opens the fonts of the page and nothing else.

        SECURITY: text of the page comes from tenants; no address in it may be asked for, inside or outside.
        """

        def fetch(self, url: str, headers: Any = None) -> Any:
            """The font. Raises ValueError for any other address."""
            parts = urlsplit(url)
            path = Path(unquote(parts.path)).resolve()
            if parts.scheme != "file" or parts.netloc or path.parent != FONTS or path.suffix != ".woff2":
                raise ValueError("only the page's own fonts are opened")
            return super().fetch(url, headers)

    document = weasyprint.HTML(string=page, base_url=f"{FONTS.as_uri()}/", url_fetcher=OwnFonts())
    return bytes(document.write_pdf())


def _context(invoice: Invoice, lines: list[Line]) -> dict[str, Any]:
    names = {state.value: state.label for state in InvoiceState}
    return {
        "invoice": invoice,
        "language": get_language() or "en",
        "is_draft": invoice.state == InvoiceState.DRAFT,
        "state": names[invoice.state],
        "customer": invoice.customer or invoice.tenant.name,
        "issuer": settings.INVOICE_ISSUER,
        "month": month_text(invoice.month),
        "closed": _day(invoice.closed_at),
        "paid": _day(invoice.paid_at),
        "rows": [
            {
                "position": line.position,
                "description": description(line),
                "quantity": quantity_text(line),
                "amount": minor_text(line.amount_minor, invoice.currency),
            }
            for line in lines
        ],
        "total": readable(invoice.total_minor, invoice.currency),
        "exact": plain(invoice.total_nano),
    }


def _day(moment: Any) -> str:
    return str(format_date(moment.date(), "long", locale=_locale())) if moment else ""


def _weasyprint() -> Any:
    try:
        import weasyprint
    except OSError:  # the package is there, the library that it draws with is not
        raise Unavailable(
            _("PDFs cannot be made here: install Pango (packages libpango-1.0-0 and libpangoft2-1.0-0)."),
            code="pango_missing",
        ) from None
    return weasyprint


@cache
def _has_chinese_font() -> bool:
    """Whether fontconfig knows a font with Chinese characters. Where it cannot be asked: taken to be so."""
    program = shutil.which("fc-list")
    if program is None:
        return True
    found = subprocess.run(
        [program, ":lang=zh-cn", "family"], capture_output=True, text=True, timeout=20, check=False
    )
    return bool(found.stdout.strip())
