"""Reads of reconciliations."""

from __future__ import annotations

from django.db.models import QuerySet

from billing.models import Reconciliation


def reconciliations() -> QuerySet[Reconciliation]:
    """Comparisons, newest first, with their differences."""
    return Reconciliation.objects.prefetch_related("differences").order_by("-id")
