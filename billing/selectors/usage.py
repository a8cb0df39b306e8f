"""Reads of usage records. What is absent and what is another tenant's raise the same NotFound (L17)."""

from __future__ import annotations

from django.utils.translation import gettext as _

from billing.models import UsageRecord
from billing.querysets import UsageRecordQuerySet
from core.errors import NotFound
from core.ids import parse_public_id


def usage_records() -> UsageRecordQuerySet:
    """The active tenant's usage records, newest first; behind the platform door everybody's."""
    return UsageRecord.objects.get_queryset().newest_first()


def usage_record_by_public_id(*, public_id: str) -> UsageRecord:
    """One usage record in scope by its `use_…` id. Raises NotFound."""
    try:
        record = usage_records().filter(pk=parse_public_id(public_id, UsageRecord.id_prefix)).first()
    except ValueError:
        record = None
    if record is None:
        raise NotFound(_("There is no such usage record."))
    return record
