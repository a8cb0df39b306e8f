"""Reads of invoices. A draft's lines are computed when they are asked for; a closed one's are stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from billing.invoicing import Line, Use, components_of, finish
from billing.models import (
    Component,
    Grain,
    Invoice,
    InvoiceLine,
    InvoiceState,
    LineKind,
    UsageRecord,
    UsageRollup,
)
from billing.periods import beginning, month_of, span_of
from billing.selectors import ledger_view
from billing.selectors.ledger_view import Rates
from core.errors import NotFound
from core.ids import parse_public_id

# How far back corrections are looked for that are on no invoice yet.
CORRECTIONS_BACK = timedelta(days=400)


def invoices() -> QuerySet[Invoice]:
    """The active tenant's invoices, the latest month first; behind the platform door everybody's."""
    return Invoice.objects.select_related("tenant").order_by("-month", "currency", "-id")


def invoice_by_public_id(*, public_id: str) -> Invoice:
    """One invoice in scope by its `inv_…` id. Raises NotFound."""
    try:
        found = invoices().filter(pk=parse_public_id(public_id, Invoice.id_prefix)).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(_("There is no such invoice."))
    return found


def lines_of(invoice: Invoice) -> list[Line]:
    """The lines of an invoice in their order: stored ones of a closed invoice, computed ones of a draft."""
    if invoice.state != InvoiceState.DRAFT:
        names = Line.__dataclass_fields__
        rows = InvoiceLine.objects.filter(invoice=invoice).order_by("position").values(*names)
        return [Line(**row) for row in rows]
    return compute(tenant_id=invoice.tenant_id, month=invoice.month, currency=invoice.currency)[0]


def line_of(invoice: Invoice, number: int) -> Line:
    """One line by its number. Raises NotFound."""
    for line in lines_of(invoice):
        if line.position == number:
            return line
    raise NotFound(_("The invoice has no such line."))


def compute(*, tenant_id: UUID, month: date, currency: str) -> tuple[list[Line], int, int]:
    """Lines, exact total (nano-units) and total (smallest units) of a tenant's month as of now.

    Reads roll-ups, not records: as fast for ten million requests as for ten.
    """
    lines = [
        *_usage_lines(tenant_id, month, currency),
        *_late_lines(tenant_id, month, currency),
        *_correction_lines(tenant_id, month, currency),
    ]
    return finish(lines, currency)


def _charged(tenant_id: UUID, currency: str) -> QuerySet[Any]:
    return UsageRollup.objects.filter(tenant_id=tenant_id, grain=Grain.DAY, currency=currency)


def _usage_lines(tenant_id: UUID, month: date, currency: str) -> list[Line]:
    begin, end = span_of(month)
    sums = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "gpu_ns", "slot_ms")
    rows = list(
        _charged(tenant_id, currency)
        .filter(begin__gte=begin, begin__lt=end)
        .values("model", "price_id")
        .annotate(**{f"sum_{name}": Sum(name) for name in (*sums, "charge_nano")})
        .exclude(sum_charge_nano=0)
        .order_by("model", "price_id")
    )
    rates = ledger_view.rates_of(row["price_id"] for row in rows if row["price_id"])
    parts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        use = Use(row["model"], *(int(row[f"sum_{name}"]) for name in ("charge_nano", *sums)))
        for name, (quantity, nano) in components_of(use, _by_component(rates.get(row["price_id"]))).items():
            parts[row["model"], name][0] += quantity
            parts[row["model"], name][1] += nano
    order = {name: number for number, name in enumerate(Component.values)}
    return [
        Line(
            position=0,
            kind=LineKind.USAGE.value,
            period=month,
            model=model,
            component=component,
            quantity=quantity,
            exact_nano=nano,
            amount_minor=0,
        )
        for (model, component), (quantity, nano) in sorted(
            parts.items(), key=lambda item: (item[0][0], order[item[0][1]])
        )
    ]


def _by_component(rates: Rates | None) -> dict[str, int] | None:
    if rates is None:
        return None
    return {
        Component.INPUT.value: rates.input_nano,
        Component.CACHED.value: rates.cached_nano,
        Component.OUTPUT.value: rates.output_nano,
        Component.CALLS.value: rates.call_nano,
        Component.GPU.value: rates.gpu_second_nano,
        Component.SLOTS.value: rates.slot_hour_nano,
    }


def _late_lines(tenant_id: UUID, month: date, currency: str) -> list[Line]:
    """What months with closed invoices are charged by now, less what they and later invoices have of it."""
    invoiced = invoiced_by_month(tenant_id=tenant_id, currency=currency)
    closed = set(
        Invoice.objects.filter(tenant_id=tenant_id, currency=currency, month__lt=month)
        .exclude(state=InvoiceState.DRAFT)
        .values_list("month", flat=True)
    )
    lines = []
    for earlier, charge in sorted(
        charged_by_month(tenant_id=tenant_id, currency=currency, months=closed).items()
    ):
        difference = charge - invoiced.get(earlier, 0)
        if difference:
            lines.append(
                Line(
                    position=0,
                    kind=LineKind.LATE.value,
                    period=earlier,
                    component=Component.WHOLE.value,
                    exact_nano=difference,
                    amount_minor=0,
                )
            )
    return lines


def invoiced_by_month(*, tenant_id: UUID, currency: str) -> dict[date, int]:
    """What closed invoices hold of each month's usage, nano-units."""
    rows = (
        InvoiceLine.objects.filter(
            tenant_id=tenant_id,
            invoice__currency=currency,
            kind__in=[LineKind.USAGE, LineKind.LATE],
        )
        .order_by()
        .values("period")
        .annotate(total=Sum("exact_nano"))
    )
    return {row["period"]: int(row["total"]) for row in rows}


def charged_by_month(*, tenant_id: UUID, currency: str, months: set[date]) -> dict[date, int]:
    """What requests that started in each of `months` are charged, nano-units; 0 where there is none."""
    charged = dict.fromkeys(months, 0)
    if not months:
        return charged
    rows = (
        _charged(tenant_id, currency)
        .filter(begin__gte=span_of(min(months))[0], begin__lt=span_of(max(months))[1])
        .order_by()
        .values("begin")
        .annotate(total=Sum("charge_nano"))
    )
    for row in rows:
        month = month_of(row["begin"])
        if month in charged:
            charged[month] += int(row["total"])
    return charged


def _correction_lines(tenant_id: UUID, month: date, currency: str) -> list[Line]:
    begin, end = span_of(month)
    found = ledger_view.transactions_between(tenant_id=tenant_id, begin=begin - CORRECTIONS_BACK, end=end)
    there = set(
        InvoiceLine.objects.filter(
            tenant_id=tenant_id, reference__in=[correction.id for correction in found]
        ).values_list("reference", flat=True)
    )
    return [
        Line(
            position=0,
            kind=LineKind.CORRECTION.value,
            period=month_of(correction.booked_at),
            exact_nano=correction.nano,
            amount_minor=0,
            reference=correction.id,
            note=correction.reason[:1000],
        )
        for correction in found
        if correction.currency == currency and correction.id not in there
    ]


def months_charged(*, tenant_id: UUID, until: datetime) -> set[tuple[date, str]]:
    """Months and currencies before `until` in which the tenant was charged, or a correction booked."""
    rows = (
        UsageRollup.objects.filter(tenant_id=tenant_id, grain=Grain.DAY, begin__lt=until)
        .exclude(currency="")
        .exclude(charge_nano=0)
        .order_by()
        .values_list("begin", "currency")
        .distinct()
    )
    charged = {(month_of(begin), currency) for begin, currency in rows}
    corrections = ledger_view.transactions_between(
        tenant_id=tenant_id, begin=until - CORRECTIONS_BACK, end=until
    )
    on_invoices = set(
        InvoiceLine.objects.filter(
            tenant_id=tenant_id, reference__in=[correction.id for correction in corrections]
        ).values_list("reference", flat=True)
    )
    return charged | {
        (month_of(each.booked_at), each.currency) for each in corrections if each.id not in on_invoices
    }


def requests_behind(invoice: Invoice, line: Line) -> QuerySet[UsageRecord]:
    """The usage records that a line was made of, newest first; none behind corrections and rounding."""
    begin, end = span_of(line.period)
    records = UsageRecord.objects.filter(
        tenant_id=invoice.tenant_id,
        currency=invoice.currency,
        started_at__gte=begin,
        started_at__lt=end,
    ).order_by("-started_at", "-id")
    if line.kind == LineKind.LATE:
        closed = (
            Invoice.objects.filter(tenant_id=invoice.tenant_id, currency=invoice.currency, month=line.period)
            .exclude(pk=invoice.pk)
            .values_list("closed_at", flat=True)
            .first()
        )
        return records.filter(pk__gte=_first_id(closed or beginning(line.period)))
    if line.kind != LineKind.USAGE:
        return records.none()
    return records.filter(_counted(line.component), model=line.model).exclude(charge_nano=0)


def _counted(component: str) -> Q:
    conditions: Mapping[str, Q] = {
        Component.INPUT.value: Q(prompt_tokens__gt=F("cached_tokens")),
        Component.CACHED.value: Q(cached_tokens__gt=0),
        Component.OUTPUT.value: Q(completion_tokens__gt=0),
        Component.GPU.value: Q(gpu_prefill_ns__gt=0) | Q(gpu_decode_ns__gt=0),
        Component.SLOTS.value: Q(duration_ms__gt=F("queue_ms")),
    }
    return conditions.get(component, Q())


def _first_id(moment: datetime) -> UUID:
    """The least id (UUIDv7) that a row written at `moment` can have: ids tell when a record came in."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))
