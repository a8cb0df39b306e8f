"""Questions about usage records, as chainable methods."""

from __future__ import annotations

from datetime import datetime

from core.scoping import TenantQuerySet


class UsageRecordQuerySet(TenantQuerySet):
    """Questions about usage records."""

    def finished_between(self, begin: datetime, end: datetime) -> UsageRecordQuerySet:
        """Those that ended at or after `begin` and before `end`: no record falls into two neighbouring spans."""
        return self.filter(finished_at__gte=begin, finished_at__lt=end)

    def for_model(self, name: str) -> UsageRecordQuerySet:
        """Those of one public name."""
        return self.filter(model=name)

    def newest_first(self) -> UsageRecordQuerySet:
        """The latest first."""
        return self.order_by("-finished_at", "-id")
