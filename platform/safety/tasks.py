"""Scheduled work. Each may run in several schedulers at once and takes effect once."""

from __future__ import annotations

from celery import shared_task

from safety.services import hits, reviews


@shared_task(name="safety.ingest_hits")
def ingest_hits() -> None:
    """Add up the hits that web processes have sent."""
    hits.ingest()


@shared_task(name="safety.forget_old")
def forget_old() -> None:
    """Forget texts of old reviews, and ids of batches that nothing delivers again."""
    reviews.forget_old()
    hits.forget_batches()
