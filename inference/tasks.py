"""Scheduled work of the jobs worker. `inference.serve` is not here: only engine workers load it."""

from __future__ import annotations

from celery import shared_task

from billing.services import settlement
from core.locks import alone
from inference.admission.release import release
from inference.call_logs import ingestion as call_logs
from inference.call_logs import retention as log_retention
from inference.services import engine_totals, epochs, reaper, reconciler, sweep, usage

# Advisory locks, so that a worker that is killed in the middle keeps nobody out.
REAPING = 0x52656170  # "Reap"
SWEEPING = 0x53776565  # "Swee"


@shared_task(name="inference.reconcile")
def reconcile() -> None:
    """Bring deployments and replicas together."""
    reconciler.reconcile()


@shared_task(name="inference.ingest_usage")
def ingest_usage() -> None:
    """Take usage records from Valkey to PostgreSQL, charge for them, and give back what was held for more."""
    usage.ingest(write=settlement.settle, after_commit=call_logs.in_turn(release, call_logs.complete))


@shared_task(name="inference.ingest_call_logs")
def ingest_call_logs() -> None:
    """Take what web processes noted of requests from Valkey to PostgreSQL."""
    call_logs.ingest()


@shared_task(name="inference.keep_log_partitions_ahead")
def keep_log_partitions_ahead() -> None:
    """Make the partitions of call logs for the months to come."""
    log_retention.keep_ahead()


@shared_task(name="inference.reap_requests")
def reap_requests() -> None:
    """Account for requests that a crash left behind. One at a time, whoever is scheduled twice."""
    with alone(REAPING) as is_alone:
        if is_alone:
            reaper.reap()


@shared_task(name="inference.sweep_holds")
def sweep_holds() -> None:
    """Give back what crashes left held. One at a time, whoever is scheduled twice."""
    with alone(SWEEPING) as is_alone:
        if is_alone:
            sweep.sweep()
            epochs.close_old()


@shared_task(name="inference.keep_engine_totals")
def keep_engine_totals() -> None:
    """Keep what engines counted themselves, for the reconciliation."""
    engine_totals.keep()
