"""Scheduled work of the jobs worker. `inference.serve` is not here: only engine workers load it."""

from __future__ import annotations

from celery import shared_task
from django.core.cache import cache

from billing.services import settlement
from inference.admission.release import release
from inference.services import engine_totals, epochs, reaper, reconciler, sweep, usage


@shared_task(name="inference.reconcile")
def reconcile() -> None:
    """Bring deployments and replicas together."""
    reconciler.reconcile()


@shared_task(name="inference.ingest_usage")
def ingest_usage() -> None:
    """Take usage records from Valkey to PostgreSQL, charge for them, and give back what was held for more."""
    usage.ingest(write=settlement.settle, after_commit=release)


@shared_task(name="inference.reap_requests")
def reap_requests() -> None:
    """Account for requests that a crash left behind. One at a time, whoever is scheduled twice."""
    if cache.add("inference.reap_requests", 1, timeout=60):
        try:
            reaper.reap()
        finally:
            cache.delete("inference.reap_requests")


@shared_task(name="inference.sweep_holds")
def sweep_holds() -> None:
    """Give back what crashes left held. One at a time, whoever is scheduled twice."""
    if cache.add("inference.sweep_holds", 1, timeout=60):
        try:
            sweep.sweep()
            epochs.close_old()
        finally:
            cache.delete("inference.sweep_holds")


@shared_task(name="inference.keep_engine_totals")
def keep_engine_totals() -> None:
    """Keep what engines counted themselves, for the reconciliation."""
    engine_totals.keep()
