"""Work of this application in the background."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from core.actors import system
from tenants.services import erasure, exports, retention


@shared_task(name="tenants.apply_retention")
def apply_retention(data_class: str = "") -> None:
    """Remove what is too old, of all classes or of one."""
    retention.apply(actor=system("tenants.apply_retention"), data_class=data_class)


@shared_task(name="tenants.build_export")
def build_export(export_id: str, of_tenant: str) -> None:
    """Write the file of one export."""
    exports.build(export_id=UUID(export_id), tenant_id=UUID(of_tenant))


@shared_task(name="tenants.run_erasure")
def run_erasure(erasure_id: str, of_tenant: str) -> None:
    """Do the work of one erasure."""
    erasure.run(erasure_id=UUID(erasure_id), tenant_id=UUID(of_tenant))


@shared_task(name="tenants.erase_closed")
def erase_closed() -> None:
    """Take on tenants whose closing period is over, and what a crash left unfinished."""
    erasure.erase_closed()
    erasure.resume()
