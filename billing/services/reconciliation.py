"""Three parties' figures side by side: engine counters, usage records, and ledger and invoices.

Each comparison that does not come out even leaves a row with both figures and the most likely cause. Figures of
one tenant are read in one snapshot of the database, so that what is being written meanwhile makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import BigIntegerField, Count, F, Max, Q, Sum, Value
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _

from access import policies
from audit import services as audit
from billing.models import (
    Cause,
    Check,
    EngineTotal,
    Grain,
    Invoice,
    InvoiceState,
    Outcome,
    Reconciliation,
    ReconciliationDifference,
    ReconciliationState,
    UsageRecord,
    UsageRollup,
)
from billing.periods import beginning, ceil_day, floor_day
from billing.selectors import invoices, ledger_view
from core import clock
from core.actors import Actor
from core.errors import InvalidInput
from core.scoping import platform_scope, tenant_scope
from tenants.models import Tenant

log = structlog.get_logger(__name__)

MAX_DAYS = 92
# Engine time that need not be a request's: steps that were cut off, warm-up (law L12 allows one percent).
BUSY_TOLERANCE_PERCENT = 1
# What a report of an engine and the records of its requests may be apart in time.
ON_ITS_WAY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """Two figures that were compared."""

    kind: str
    subject: str
    measure: str
    left: int
    right: int
    cause: str = ""
    tolerated: int = 0

    @property
    def is_different(self) -> bool:
        """True when they are further apart than what is tolerated."""
        return abs(self.left - self.right) > self.tolerated


def run(*, begin: datetime, end: datetime, actor: Actor) -> Reconciliation:
    """Compare everything of the whole days from `begin` to before `end`, and keep the report.

    Raises NotAllowed, and InvalidInput for an empty span or one of more than MAX_DAYS. Cost: reads every usage
    record of the span once.
    """
    policies.require(actor, "billing.reconciliation.run")
    begin, end = floor_day(begin), ceil_day(end)
    if not timedelta(0) < end - begin <= timedelta(days=MAX_DAYS):
        raise InvalidInput(
            _("Ask for a span of at most %(days)d days that does not end before it begins.")
            % {"days": MAX_DAYS},
            field="since",
        )
    findings = list(_findings(begin, end))
    different = [finding for finding in findings if finding.is_different]
    with transaction.atomic():
        report = Reconciliation(
            begin=begin,
            end=end,
            state=ReconciliationState.DIFFERENT if different else ReconciliationState.BALANCED,
            checks=len(findings),
            ran_by=actor.label[:254],
        )
        report.save(force_insert=True)
        ReconciliationDifference.objects.bulk_create(
            [
                ReconciliationDifference(
                    reconciliation=report,
                    kind=finding.kind,
                    subject=finding.subject[:250],
                    measure=finding.measure,
                    left=finding.left,
                    right=finding.right,
                    cause=finding.cause,
                )
                for finding in different
            ]
        )
        audit.record(
            "billing.reconciliation.ran",
            actor=actor,
            target=report,
            after={"begin": begin, "end": end, "state": report.state, "differences": len(different)},
        )
    log.info("billing.reconciliation.ran", state=report.state, checks=report.checks, different=len(different))
    return report


def yesterday() -> tuple[datetime, datetime]:
    """The span of the daily run: the last two full days, so that what was on its way is looked at again."""
    end = floor_day(clock.now())
    return end - timedelta(days=2), end


def _findings(begin: datetime, end: datetime) -> Iterator[Finding]:
    yield from _engines(begin, end)
    with platform_scope("reconciliation.run"):
        tenants = list(Tenant.objects.order_by("pk").values_list("pk", flat=True))
    for tenant_id in tenants:
        yield from _tenant(tenant_id, begin, end)


# --- Engine counters and usage records --------------------------------------------------------------------------


def _engines(begin: datetime, end: datetime) -> Iterator[Finding]:
    """Each replica over its whole life, if it lived in the span."""
    totals = EngineTotal.objects.filter(begun_at__lt=end).filter(Q(ended_at=None) | Q(ended_at__gte=begin))
    for total in totals.order_by("begun_at", "replica"):
        with platform_scope("reconciliation.run"):
            recorded = _recorded_by(total)
        for measure in ("requests", "prompt_tokens", "completion_tokens"):
            left, right = getattr(total, measure), int(recorded[measure] or 0)
            yield Finding(
                Check.ENGINE.value,
                total.replica,
                measure,
                left,
                right,
                _engine_cause(total, left, right, recorded),
            )
        busy, given = total.busy_ns, int(recorded["gpu_ns"] or 0)
        tolerated = busy * BUSY_TOLERANCE_PERCENT // 100
        cause = _engine_cause(total, busy, given, recorded)
        if abs(total.busy_ns - total.attributed_ns) > tolerated:
            cause = Cause.NOT_ATTRIBUTED.value
        yield Finding(Check.BUSY.value, total.replica, "gpu_ns", busy, given, cause, tolerated)


def _recorded_by(total: EngineTotal) -> dict[str, Any]:
    records = UsageRecord.objects.filter(
        replica=total.replica,
        # Bounds on the column that the table is partitioned by: a request waits and runs for hours at most.
        started_at__gte=total.begun_at - timedelta(days=1),
        started_at__lt=(total.ended_at or clock.now()) + timedelta(hours=1),
        finished_at__gte=total.begun_at,
    )
    if total.ended_at is not None:
        records = records.filter(finished_at__lte=total.ended_at + ON_ITS_WAY)
    return records.aggregate(
        requests=Count("pk"),
        prompt_tokens=Sum("prompt_tokens"),
        completion_tokens=Sum("completion_tokens"),
        gpu_ns=Sum(F("gpu_prefill_ns") + F("gpu_decode_ns")),
        lost=Count("pk", filter=Q(outcome=Outcome.LOST)),
        latest=Max("finished_at"),
    )


def _engine_cause(total: EngineTotal, left: int, right: int, recorded: dict[str, Any]) -> str:
    """Why an engine and the records of its requests most likely differ."""
    if recorded["lost"]:
        return Cause.LOST.value  # the reaper's guesses stand in for reports that never came
    if left > right:
        if total.ended_at is None or total.ended_at > clock.now() - ON_ITS_WAY:
            return Cause.ON_THEIR_WAY.value  # finished, and the record still in the stream or the journal
        return Cause.MISSING.value
    if recorded["latest"] and recorded["latest"] > total.reported_at:
        return Cause.REPORT_OLDER.value  # the engine's last report is older than its last requests
    return Cause.ELSEWHERE.value  # e.g. requests that another replica took over


# --- Usage records, roll-ups, ledger and invoices of one tenant ---------------------------------------------------


def _tenant(tenant_id: UUID, begin: datetime, end: datetime) -> list[Finding]:
    subject = Tenant(pk=tenant_id).public_id
    outermost = not connection.in_atomic_block  # only a transaction's first statement can choose its snapshot
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with tenant_scope(tenant_id):
            return [
                *_rollups(tenant_id, subject, begin, end),
                *_ledger(tenant_id, subject),
                *_invoices(tenant_id, subject, begin, end),
            ]


def _rollups(tenant_id: UUID, subject: str, begin: datetime, end: datetime) -> Iterator[Finding]:
    raw = UsageRecord.objects.filter(
        tenant_id=tenant_id, started_at__gte=begin, started_at__lt=end
    ).aggregate(
        requests=Count("pk"),
        prompt_tokens=Sum("prompt_tokens"),
        cached_tokens=Sum("cached_tokens"),
        completion_tokens=Sum("completion_tokens"),
        gpu_ns=Sum(F("gpu_prefill_ns") + F("gpu_decode_ns")),
        slot_ms=Sum(Greatest(F("duration_ms") - F("queue_ms"), Value(0), output_field=BigIntegerField())),
        charge_nano=Sum("charge_nano"),
    )
    for grain in (Grain.HOUR, Grain.DAY):
        kept = UsageRollup.objects.filter(
            tenant_id=tenant_id, grain=grain, begin__gte=begin, begin__lt=end
        ).aggregate(**{f"sum_{name}": Sum(name) for name in raw})
        for measure, value in raw.items():
            yield Finding(
                Check.ROLLUP.value,
                subject,
                f"{measure}/{grain}",
                int(value or 0),
                int(kept[f"sum_{measure}"] or 0),
                Cause.STALE.value,
            )


def _ledger(tenant_id: UUID, subject: str) -> Iterator[Finding]:
    """All that was ever charged, and all revenue ever booked: no month's end lies between the two."""
    charged = (
        UsageRollup.objects.filter(tenant_id=tenant_id, grain=Grain.DAY)
        .exclude(currency="")
        .order_by()
        .values("currency")
        .annotate(total=Sum("charge_nano"))
    )
    for row in charged:
        left = int(row["total"])
        right = ledger_view.ledger_revenue_nano(
            tenant_id=tenant_id,
            currency=row["currency"],
            begin=beginning(datetime(2000, 1, 1, tzinfo=clock.now().tzinfo).date()),
            end=clock.now() + timedelta(days=1),
        )
        cause = Cause.BOOKED.value if right > left else Cause.UNBOOKED.value
        yield Finding(Check.LEDGER.value, subject, row["currency"], left, right, cause)


def _invoices(tenant_id: UUID, subject: str, begin: datetime, end: datetime) -> Iterator[Finding]:
    """Months with closed invoices that the span touches: what is charged by now, and what is invoiced."""
    closed = Invoice.objects.filter(
        tenant_id=tenant_id, month__gte=begin.date().replace(day=1), month__lt=end.date()
    ).exclude(state=InvoiceState.DRAFT)
    for currency in sorted(set(closed.values_list("currency", flat=True))):
        months = set(closed.filter(currency=currency).values_list("month", flat=True))
        charged = invoices.charged_by_month(tenant_id=tenant_id, currency=currency, months=months)
        invoiced = invoices.invoiced_by_month(tenant_id=tenant_id, currency=currency)
        for month in sorted(months):
            yield Finding(
                Check.INVOICE.value,
                subject,
                f"{currency}/{month:%Y-%m}",
                charged[month],
                invoiced.get(month, 0),
                Cause.LATE.value,  # came in after closing: the next invoice has it
            )
    for invoice in closed:
        lines = invoices.lines_of(invoice)
        measure = f"{invoice.number}"[:32]
        exact = sum(line.exact_nano for line in lines)
        yield Finding(Check.INVOICE.value, subject, measure, exact, invoice.total_nano, Cause.LINES.value)
        rounded = sum(line.amount_minor for line in lines)
        yield Finding(Check.INVOICE.value, subject, measure, rounded, invoice.total_minor, Cause.LINES.value)
